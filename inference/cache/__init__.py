"""Answers that were computed before, and equal computations that run now, here or in another process."""
