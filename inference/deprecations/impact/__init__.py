"""Whom an end concerns: who still calls what ends, and what was done about it."""
