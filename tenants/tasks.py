"""Celery tasks of this app; each calls one service."""

from celery import shared_task

from tenants import last_used


@shared_task(name="tenants.flush_last_used")
def flush_last_used() -> int:
    """Write when keys were last used."""
    return last_used.flush()
