"""Telling people of an end: what is due when, the letters, and that each is sent once."""
