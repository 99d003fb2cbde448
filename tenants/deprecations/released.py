"""The API versions that came with the product: their rows exist in every database that was migrated."""

import datetime as dt
from typing import Any, Final

FIRST: Final = (
    ("v1", dt.datetime(2026, 11, 1, tzinfo=dt.UTC), "The best label of a classification and how sure the model is."),
    (
        "v1.1",
        dt.datetime(2026, 11, 8, tzinfo=dt.UTC),
        "Adds to `v1` which model version answered, and in which time.",
    ),
    (
        "v2",
        dt.datetime(2026, 11, 15, tzinfo=dt.UTC),
        "Every label with its score, embeddings, `top_k`, batches over several models, and what a call cost.",
    ),
)


def ensure_rows(**_: Any) -> None:
    """Add the rows that are missing; Django calls it after each migration, and after a test has emptied the tables."""
    from tenants.models import ApiVersion

    # In bulk, past the audit log, whose own tables may not be ready at this moment.
    ApiVersion.objects.bulk_create(
        [ApiVersion(name=name, released_at=released_at, summary=summary) for name, released_at, summary in FIRST],
        ignore_conflicts=True,
    )
