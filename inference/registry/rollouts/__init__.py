"""How versions come to answer: promotion and rollback, canaries that are judged, shadows that are compared."""
