"""For tests of impact and of its pages: a schedule, versions of a model, and use of them as the drain would have summed it."""

import datetime as dt
from typing import Any

from billing.models import VersionUse
from inference.models import MLModel, ModelVersion, VersionState
from mlplatform.lib import clock
from tenants.deprecations import schedules
from tenants.models import DeprecationSchedule, SubjectKind, Tenant

DAY = dt.timedelta(days=1)
GUIDE = "Send `inputs`.\n\n[[changes]]\n\n[[samples]]"


def make_schedule(subject: str = "v1", successor: str = "v2", **more: Any) -> DeprecationSchedule:
    """Announced yesterday, deprecated an hour ago, ended in 200 days; ``more`` are other fields."""
    now = clock.now()
    fields: dict[str, Any] = {
        "kind": SubjectKind.MODEL_VERSION if "@" in subject else SubjectKind.API_VERSION,
        "announce_at": now - DAY,
        "deprecate_at": now - dt.timedelta(hours=1),
        "sunset_at": now + 200 * DAY,
        "reason": "v2 says more.",
        "guide": GUIDE,
        **more,
    }
    return schedules.save(DeprecationSchedule(subject=subject, successor=successor, **fields))


def make_versions(model: str = "sentiment") -> tuple[ModelVersion, ModelVersion]:
    """``1.0.0``, which is ready, and ``2.0.0``, which is live."""
    owner = MLModel.objects.create(name=model)
    old, live = (
        ModelVersion.objects.create(
            model=owner,
            version=version,
            runtime="text-classification",
            artefact_path=f"{model}/{version}",
            sha256="0" * 64,
            input_schema={"kind": "text", "max_chars": 1000},
            output_schema={"kind": "classification"},
            labels=["negative", "positive"],
            state=state,
        )
        for version, state in (("1.0.0", VersionState.READY), ("2.0.0", VersionState.LIVE))
    )
    return old, live


def use(
    tenant: Tenant, *, days_ago: int = 0, calls: int = 1, key: str = "", client: str = "curl/8", **more: Any
) -> VersionUse:
    """One line of sums; of v1 unless ``more`` says otherwise."""
    moment = clock.now() - days_ago * DAY
    return VersionUse.objects.create(
        day=moment.date(),
        tenant=tenant,
        key_uid=key,
        client=client,
        calls=calls,
        version_calls=calls,
        units=more.pop("units", 2 * calls),
        last_call_at=moment,
        **{"api_version": "v1", "model": "sentiment", "model_version": "1.0.0", **more},
    )
