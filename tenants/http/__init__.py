"""What every HTTP face shares of callers: the call, its key, its problems, and the headers of ends."""
