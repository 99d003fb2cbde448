"""Celery tasks of this app; each calls one service."""

from smtplib import SMTPException

from celery import shared_task

from tenants import last_used, password_links


@shared_task(name="tenants.flush_last_used")
def flush_last_used() -> int:
    """Write when keys were last used."""
    return last_used.flush()


# Tried again for some ten minutes. The waits stay below the broker's visibility time-out, after which a task comes twice.
@shared_task(
    name=password_links.SEND_TASK,
    autoretry_for=(OSError, SMTPException),
    retry_backoff=10,
    retry_backoff_max=100,
    max_retries=8,
)
def send_password_link(user_id: int) -> bool:
    """Mail a person the link to set a password."""
    return password_links.send(user_id=user_id)
