"""Makes the customers whom the measurements call as; ``python -m bench.customer [SLUG …]`` prints an API key for each.

Their limits are of the demo plans' kinds and never reached: limits are checked in full, and refuse nothing.
"""

import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from bench.processes import ROOT


def make(env: Mapping[str, str], slugs: Sequence[str], *, root: Path = ROOT) -> list[str]:
    """Make one customer for each slug in the product of this environment and checkout, and give their API keys in this order."""
    done = subprocess.run(
        [sys.executable, "-m", "bench.customer", *slugs],
        cwd=root,
        env=dict(env),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"The customers could not be made: {done.stderr[-2000:]}")
    return done.stdout.split()


def main(slugs: Sequence[str]) -> None:
    """Run in the product's environment, on its database."""
    import django

    django.setup()
    from billing.models import Counts, LimitKind, LimitRule, Plan, Subscription
    from tenants import api_keys, tenancy
    from tenants.models import User

    plan, made = Plan.objects.get_or_create(name="Bench", defaults={"included_units": 8 * 10**9})
    if made:
        LimitRule.objects.create(plan=plan, name="burst", kind=LimitKind.TOKEN_BUCKET, amount=10**9, rate=10**8)
        LimitRule.objects.create(
            plan=plan, name="concurrent", kind=LimitKind.CONCURRENCY, counts=Counts.REQUESTS, amount=10_000
        )
    for slug in slugs:
        owner = User.objects.create_user(email=f"owner@{slug}.example")
        tenant = tenancy.create(slug=slug, name=slug.capitalize(), owner=owner, default_model="sentiment")
        Subscription.objects.create(tenant=tenant, plan=plan)
        print(api_keys.issue(tenant=tenant, name="Bench", scopes=["predict", "batch"], created_by=owner).secret)


if __name__ == "__main__":
    main(sys.argv[1:] or ["bench"])
