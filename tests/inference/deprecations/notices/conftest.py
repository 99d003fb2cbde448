"""The tasks and the mail server of the tests of notices."""

from typing import Any

import pytest
from django.core.mail.backends.locmem import EmailBackend

from inference.deprecations.notices import sending as notices


@pytest.fixture
def tasks(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What was enqueued, in order; only :func:`telling.deliver` runs it."""
    sent: list[dict[str, Any]] = []

    def enqueue(task: str, /, **kwargs: Any) -> None:
        assert task == "inference.send_notice"
        sent.append(kwargs)

    monkeypatch.setattr(notices, "enqueue", enqueue)
    return sent


@pytest.fixture
def broken_mail(monkeypatch: pytest.MonkeyPatch) -> list[Exception]:
    """While an exception lies in the list, the mail server raises it."""
    errors: list[Exception] = []
    works = EmailBackend.send_messages

    def send(self: EmailBackend, messages: Any) -> int:
        if errors:
            raise errors[0]
        return works(self, messages)

    monkeypatch.setattr(EmailBackend, "send_messages", send)
    return errors
