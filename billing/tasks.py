"""Celery tasks of this app; each calls one service."""

from celery import shared_task

from billing import usage


@shared_task(name="billing.drain_usage")
def drain_usage() -> int:
    """Move metered facts from the streams to the ledger."""
    return usage.drain()
