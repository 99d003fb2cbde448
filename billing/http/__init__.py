"""What every HTTP face shares of limits: calls with a key, and the headers of their answers."""
