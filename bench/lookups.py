"""``python -m bench.lookups``: CPU of the version and schedule look-ups of one call, in microseconds, as JSON.

Runs in the product's environment, with every version in its database: ``current`` is a call of v2, which does not end,
``deprecated`` one of v1.1, for which a schedule is made, with the headers that its answer carries.
"""

import datetime as dt
import json
import os
from collections.abc import Callable
from statistics import median
from time import process_time
from typing import Final

_CALLS: Final = 5_000
_ROUNDS: Final = 7


def main() -> None:
    """Measure both and print them."""
    import django

    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "mlplatform.settings")
    django.setup()
    from mlplatform.lib import clock
    from tenants import api_versions
    from tenants.api_versions import Selectors
    from tenants.deprecations import catalogue
    from tenants.http import deprecation_headers
    from tenants.models import DeprecationSchedule

    now = clock.now()
    schedule = DeprecationSchedule.objects.create(
        kind="api_version",
        subject="v1.1",
        announce_at=now - dt.timedelta(days=60),
        deprecate_at=now - dt.timedelta(days=30),
        sunset_at=now + dt.timedelta(days=200),
        successor="v2",
        reason="The bench looks at it.",
        guide="Use v2.",
    )
    catalogue.forget()

    def call(version: str) -> None:
        known = catalogue.current().api_versions
        chosen = api_versions.select(Selectors(path=version), default="v2", known=known)
        ending = catalogue.judge_api_version(chosen, tenant_id=1, call_id="0190163d8694739b")
        if ending is not None:
            deprecation_headers.of(ending, path="/predict")

    print(json.dumps({"current": _cpu_us(lambda: call("v2")), "deprecated": _cpu_us(lambda: call("v1.1"))}))
    schedule.delete()
    catalogue.changed()


def _cpu_us(work: Callable[[], None]) -> float:
    times = []
    for _ in range(_ROUNDS):
        started = process_time()
        for _ in range(_CALLS):
            work()
        times.append((process_time() - started) / _CALLS * 1e6)
    return median(times)


if __name__ == "__main__":
    main()
