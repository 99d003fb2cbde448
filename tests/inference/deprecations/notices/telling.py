"""What the tests of telling people start from: a schedule, and calls that a tenant made."""

import datetime as dt
from typing import Any

from billing.models import VersionUse
from inference.deprecations.notices import sending as notices
from inference.engine.predict import Answer
from inference.models import Notice
from inference.types import LabelScore, PredictResult
from mlplatform.lib import clock
from tenants.authentication import Caller, authenticate
from tenants.deprecations import schedules
from tenants.models import DeprecationSchedule, Event
from tests.conftest import Customer
from tests.support.tiny_model import make_version

NOW = dt.datetime(2027, 1, 4, 9, tzinfo=dt.UTC)
DAY = dt.timedelta(days=1)
HOUR = dt.timedelta(hours=1)
MINUTE = dt.timedelta(minutes=1)


def v1_ends(**changes: Any) -> DeprecationSchedule:
    """v1 is announced at NOW, deprecated in 30 days, and ends 230 days after NOW."""
    fields: dict[str, Any] = {
        "kind": "api_version",
        "subject": "v1",
        "announce_at": NOW,
        "deprecate_at": NOW + 30 * DAY,
        "sunset_at": NOW + 230 * DAY,
        "successor": "v2",
        "reason": "v2 tells every label with its score.",
        "guide": "Use v2.",
    }
    return schedules.save(DeprecationSchedule(**(fields | changes)))


def tiny_ends(**changes: Any) -> DeprecationSchedule:
    """tiny@1.0.0 ends in favour of tiny@2.0.0, which is live."""
    make_version(version="1.0.0", state="ready")
    make_version(version="2.0.0", state="live")
    fields: dict[str, Any] = {"kind": "model_version", "subject": "tiny@1.0.0", "successor": "tiny@2.0.0"}
    return v1_ends(**(fields | changes))


def used(customer: Customer, *, calls: int = 3, api_version: str = "v1", model: str = "tiny") -> None:
    """The customer calls at this moment."""
    VersionUse.objects.update_or_create(
        day=clock.now().date(),
        tenant=customer.tenant,
        key_uid=customer.key.uid,
        api_version=api_version,
        model=model,
        model_version="1.0.0",
        client="acme-app/3.1",
        defaults={"calls": calls, "version_calls": calls, "units": calls, "last_call_at": clock.now()},
    )


def caller_of(customer: Customer) -> Caller:
    return authenticate(customer.secret, address="127.0.0.1", fresh=True)


def answer(*, label: str = "yes", score: float = 0.75, model: str = "tiny", version: str = "1.0.0") -> Answer:
    """An answer of one classification."""
    result = PredictResult(
        id="5f0c2a9e41d74b6c8a3e9d10b7c2f418",
        model=model,
        model_version=version,
        predictions=(LabelScore(label, score), LabelScore("no", round(1 - score, 6))),
        embedding=None,
        units=1,
        cached=False,
        age_s=0,
        latency_ms=8.4,
    )
    return Answer((result,), 1, None)


def deliver(tasks: list[dict[str, Any]]) -> int:
    """Run what waits; the number of mails that went out."""
    waiting, tasks[:] = list(tasks), []
    return sum(notices.send(**task) for task in waiting)


def told(customer: Customer) -> list[str]:
    return list(
        Notice.objects.filter(tenant=customer.tenant).order_by("created_at", "pk").values_list("moment", flat=True)
    )


def event_types(customer: Customer) -> list[str]:
    rows = Event.objects.filter(tenant=customer.tenant).order_by("occurred_at", "id")
    return list(rows.values_list("type", flat=True))
