"""Measures the product against what it claims: ``make bench``, or ``python -m bench [scenario …]``."""
