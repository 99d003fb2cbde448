"""A caller that changes while it is served: the call begins anew as the changed one, and ends if that has no end."""

import time

import pytest

from mlplatform.lib.errors import ErrorKind, PlatformError
from tenants import calling
from tenants.authentication import Caller
from tenants.guards import StaleCaller
from tests.conftest import Customer

pytestmark = pytest.mark.django_db


class Work:
    """Is stale for a number of times."""

    def __init__(self, stale: int) -> None:
        self.stale = stale
        self.callers: list[Caller] = []

    def __call__(self, caller: Caller) -> str:
        self.callers.append(caller)
        if len(self.callers) <= self.stale:
            raise StaleCaller
        return "answered"


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How long each try waited, in seconds; none does."""
    waited: list[float] = []
    monkeypatch.setattr(time, "sleep", waited.append)
    return waited


@pytest.mark.parametrize("stale", [0, 1, 3])
def test_a_few_changes_are_unseen_and_take_no_time(acme: Customer, pauses: list[float], stale: int) -> None:
    work = Work(stale)
    assert calling.as_caller(acme.secret, address="192.0.2.1", work=work) == "answered"
    assert len({id(caller) for caller in work.callers}) == stale + 1, "each try has a caller that was read anew"
    assert sum(pauses) == 0


def test_a_script_of_changes_is_outlasted(acme: Customer, pauses: list[float]) -> None:
    assert calling.as_caller(acme.secret, address="192.0.2.1", work=Work(9)) == "answered"
    assert pauses == sorted(pauses)
    assert 0.5 < sum(pauses) < 1


def test_changes_without_an_end_are_said(acme: Customer, pauses: list[float]) -> None:
    work = Work(100)
    with pytest.raises(PlatformError, match="is being changed at this moment") as refused:
        calling.as_caller(acme.secret, address="192.0.2.1", work=work)
    assert refused.value.kind is ErrorKind.UNAVAILABLE
    assert len(work.callers) == 10
