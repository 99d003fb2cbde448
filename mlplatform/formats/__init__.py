"""How Django writes values on pages, by language."""
