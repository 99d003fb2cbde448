"""Celery tasks of this app; each calls one service."""

from celery import shared_task

from billing import admission
from billing.metering import ledger as metering_ledger


@shared_task(name="billing.drain_usage")
def drain_usage() -> int:
    """Move metered facts from the streams to the ledger."""
    return metering_ledger.drain()


@shared_task(name="billing.sweep_holds")
def sweep_holds() -> tuple[int, int]:
    """End holds whose time is over, also of tenants that call no more, and drop what recognises retries."""
    return admission.sweep()
