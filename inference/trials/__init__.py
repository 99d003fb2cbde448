"""Canaries and shadows while they run: observed, compared, judged."""
