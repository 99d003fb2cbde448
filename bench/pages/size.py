"""How much a busy installation has after a year."""

from dataclasses import dataclass, fields, replace
from typing import Final


@dataclass(frozen=True, slots=True)
class Size:
    """Numbers of rows. Tenants differ: ``busy`` of them have ``busy_lines`` daily sums each day, ``usual`` have
    ``usual_lines``, the others ``few_lines``."""

    tenants: int = 500
    busy: int = 20
    busy_lines: int = 30
    usual: int = 80
    usual_lines: int = 12
    few_lines: int = 4
    days: int = 365
    records: int = 3_000_000
    models: int = 60
    versions_a_model: int = 5
    keys_a_tenant: int = 3
    extensions: int = 60
    brownouts: int = 24
    audited: int = 300_000
    end_users: int = 200_000
    items: int = 200_000
    likes: int = 1_000_000

    def lines(self, rank: int) -> int:
        """Daily sums of one day of the tenant of this rank, the busiest being 0."""
        if rank < self.busy:
            return self.busy_lines
        return self.usual_lines if rank < self.busy + self.usual else self.few_lines


def full() -> Size:
    """500 tenants, 300 model versions, 3 million usage records in 1.1 million daily sums."""
    return Size()


_KEPT: Final = {"busy_lines", "usual_lines", "few_lines", "versions_a_model", "keys_a_tenant"}
_LEAST: Final = {"models": 20, "tenants": 12, "busy": 1, "usual": 2, "days": 40}
"""A busy tenant calls ten models on sale with each of its keys, so there must be as many; pages look a month back."""


def small(share: float) -> Size:
    """The same shape with a share of the rows, for trying the pages out."""
    whole = Size()
    scaled = {
        one.name: max(_LEAST.get(one.name, 4), round(getattr(whole, one.name) * share))
        for one in fields(Size)
        if one.name not in _KEPT
    }
    return replace(whole, **scaled)
