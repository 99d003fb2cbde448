"""What needs the attention of staff now, each with a link to where it is put right."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import chain
from typing import Final

from billing.admin.contract_month import ContractMonth
from mlplatform.attention import calls, contracts, refused_tenants, states
from mlplatform.attention.notice import Notice
from tenants.models import User

__all__ = ["Notice", "notices"]

_URGENCY: Final = {"danger": 0, "warning": 1, "info": 2}


def notices(user: User, months: Sequence[ContractMonth]) -> list[Notice]:
    """What this person may know of, the most urgent first. ``months`` are those of all tenants."""
    found = chain(
        states.of_workers(),
        calls.failing(),
        refused_tenants.mostly_refused(),
        states.of_versions(),
        states.suspended_with_calls(),
        contracts.told(months),
        states.keys_that_end(),
        states.ends_with_callers(),
    )
    told = [_as_seen_by(user, one) for one in found if not one.permission or user.has_perm(one.permission)]
    return sorted(told, key=lambda one: _URGENCY[one.tone])


def _as_seen_by(user: User, notice: Notice) -> Notice:
    return replace(notice, more=tuple(link for link in notice.more if user.has_perm(link.permission)))
