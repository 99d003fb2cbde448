"""Makes the customer whom the measurements call as; ``python -m bench.customer`` prints its API key.

Its limits are of the demo plans' kinds and never reached: limits are checked in full, and refuse nothing.
"""

import django


def main() -> None:
    """Run in the product's environment, on its database."""
    django.setup()
    from billing.models import Counts, LimitKind, LimitRule, Plan, Subscription
    from tenants import api_keys, tenancy
    from tenants.models import User

    plan = Plan.objects.create(name="Bench", included_units=8 * 10**9)
    LimitRule.objects.create(plan=plan, name="burst", kind=LimitKind.TOKEN_BUCKET, amount=10**9, rate=10**8)
    LimitRule.objects.create(
        plan=plan, name="concurrent", kind=LimitKind.CONCURRENCY, counts=Counts.REQUESTS, amount=10_000
    )
    owner = User.objects.create_user(email="owner@bench.example")
    tenant = tenancy.create(slug="bench", name="Bench", owner=owner, default_model="sentiment")
    Subscription.objects.create(tenant=tenant, plan=plan)
    print(api_keys.issue(tenant=tenant, name="Bench", scopes=["predict", "batch"], created_by=owner).secret)


if __name__ == "__main__":
    main()
