"""``python -m bench.pages.fill [--share 0.01]``: fills the database of this environment (``DATA_DIR`` or ``DATABASE_URL``).

It must be migrated and empty of customers. The whole takes two minutes on SQLite and 2 GB of disk.
"""

import argparse
import os
import sys
from time import monotonic


def main() -> None:
    """Fill it, and say after each part what there is now."""
    import django

    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "mlplatform.settings")
    django.setup()
    from auditlog.context import disable_auditlog
    from auditlog.models import LogEntry

    from bench.pages import bulk, ledger, lists, size, world
    from billing.models import UsageRollup, VersionUse
    from inference.models import EndUser, Item, Like
    from mlplatform.lib import clock
    from tenants.models import Tenant

    parser = argparse.ArgumentParser(prog="python -m bench.pages.fill", description=__doc__)
    parser.add_argument("--share", type=float, default=1.0, help="a share of the rows; 1 by default")
    share = parser.parse_args().share
    if Tenant.objects.filter(slug__startswith="customer-").exists():
        sys.exit("This database was filled before; take an empty one.")
    wanted = size.full() if share == 1 else size.small(share)
    bulk.hurry()
    now, begun = clock.now(), monotonic()
    with disable_auditlog():
        made = world.make(wanted, now=now)
    for part in (ledger.make, lists.audiences, lists.audit_log):
        counts = part(wanted, made, now=now)
        told = ", ".join(f"{count:,} {name}" for name, count in counts.items())
        print(f"{monotonic() - begun:5.0f} s: {told}", flush=True)
    bulk.finish(UsageRollup, VersionUse, EndUser, Item, Like, LogEntry)


if __name__ == "__main__":
    main()
