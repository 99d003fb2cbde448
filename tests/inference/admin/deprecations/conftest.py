"""Who looks at the pages of schedules."""

import pytest
from django.db import transaction
from django.test import Client

from tests.support import staff


@pytest.fixture
def admin(db: None, monkeypatch: pytest.MonkeyPatch) -> Client:
    """A superuser's browser. What is published is published at once: the transaction of a test never commits."""
    monkeypatch.setattr(transaction, "on_commit", lambda publish: publish())
    return staff.signed_in(staff.superuser())
