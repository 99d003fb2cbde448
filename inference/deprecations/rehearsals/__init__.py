"""Rehearsals of a migration: sampled calls are made again on the successor, and the answers compared."""
