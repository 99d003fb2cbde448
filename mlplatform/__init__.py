"""The roof of the product: composes settings, URLs, Celery and the process commands."""
