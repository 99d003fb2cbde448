"""What every HTTP request and answer goes through, whichever face it is for."""
