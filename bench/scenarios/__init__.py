"""The scenarios, by the names under which ``python -m bench`` runs them."""
