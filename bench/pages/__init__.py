"""A database as a busy installation has it after a year, and how fast the pages of the admin are on it."""
