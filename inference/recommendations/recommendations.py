"""Recommendations for a tenant's end users: their candidates, scored by one model in one call for all of them."""

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from billing.admission import Decision
from billing.models import Operation
from inference.engine import predict
from inference.models import EndUser
from inference.recommendations import candidates as recommendations_candidates
from inference.recommendations import forms, missing
from inference.recommendations.candidates import Basis, Row, Taste
from inference.recommendations.forms import RECOMMENDER, Form
from inference.registry import versions
from inference.types import CallContext, PredictRequest, PredictResult
from mlplatform.lib.errors import ErrorKind, PlatformError, invalid
from tenants import scopes
from tenants.authentication import Caller

MAX_LIMIT: Final = 100
"""Recommendations for one user."""

MAX_INPUTS: Final = 128
"""Inputs of one call for several users: each has 216 KiB, and all of them wait in memory together."""

_SCORE_DIGITS: Final = 6


@dataclass(frozen=True, slots=True)
class RecommendedItem:
    """An item under the tenant's id. ``score`` is 0 to 1, or None where no taste is known: then the newest come first."""

    item_id: str
    title: str
    score: float | None
    categories: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Recommendations:
    """Of one user, the best first. ``units`` are those of its own inputs, without the fee of a call for several users.

    ``basis`` tells where the taste comes from; at ``newest`` nothing was scored or charged.
    """

    items: tuple[RecommendedItem, ...]
    model: str
    model_version: str
    units: int
    cached: bool
    basis: Basis


@dataclass(frozen=True, slots=True)
class Answer:
    """A result or problem for each user, in order; the units of all with fees; the limits after it.

    ``decision`` is None when nothing had to be computed. ``embedded`` counts items that had to be embedded first,
    at the platform's expense.
    """

    results: tuple[Recommendations | PlatformError, ...]
    units: int
    embedded: int
    decision: Decision | None


def recommend(
    caller: Caller, *, users: Sequence[EndUser], limit: int, context: CallContext
) -> list[Recommendations | PlatformError]:
    """For each user the ``limit`` best items that it has not liked, in order. Raises as :func:`answer` does."""
    return list(answer(caller, users=users, limit=limit, context=context).results)


def answer(caller: Caller, *, users: Sequence[EndUser], limit: int, context: CallContext) -> Answer:
    """:func:`recommend`, and what the call as a whole cost.

    One user is a ``predict`` call and several are a ``batch``, whatever ``context`` says; each 128 candidates of a user are
    one input. Raises ``PlatformError`` for what concerns the call as a whole: scope, limits, too many users, users of
    another tenant; and ``StaleCaller``.
    """
    context = replace(context, operation=(Operation.PREDICT if len(users) == 1 else Operation.BATCH).value)
    scopes.require(caller.scopes, context.operation)
    if not 1 <= limit <= MAX_LIMIT:
        raise invalid("limit", f"The limit is a whole number from 1 to {MAX_LIMIT}.")
    if any(user.tenant_id != caller.tenant_id for user in users):
        raise PlatformError(ErrorKind.NOT_FOUND, "These are not end users of this tenant.")
    form = forms.present()
    if len(users) > MAX_INPUTS:
        raise _too_many(len(users))
    tastes = _few(
        recommendations_candidates.tastes(users, tenant_id=caller.tenant_id, seeds=form.seeds), len(users), form
    )
    shown = set(itertools.chain.from_iterable(_needed(taste, limit) for taste in tastes))
    rows = recommendations_candidates.rows(shown, tenant_id=caller.tenant_id, embedded_by=form.embedded_by)
    filled = missing.fill_in(caller, rows, _scored(tastes), context, embedded_by=form.embedded_by)
    asked = [list(forms.inputs(taste, rows, form)) for taste in tastes]
    scorer = versions.resolve(RECOMMENDER, tenant_id=caller.tenant_id, on_sale=True)
    requests = [
        PredictRequest(model=RECOMMENDER, input=tensor, resolved=scorer) for inputs in asked for _, tensor in inputs
    ]
    units, decision = 0, None
    scored: Iterator[PredictResult | PlatformError] = iter(())
    if requests:
        made = predict.predict_many(caller, requests, context)
        units, decision, scored = made.units, made.decision, iter(made.results)
    results = tuple(
        _ranked([(part, next(scored)) for part, _ in inputs], taste, limit)
        if inputs
        else _newest(taste, rows, form, limit)
        for taste, inputs in zip(tastes, asked, strict=True)
    )
    return Answer(results, units, filled, decision)


def _few(tastes: Iterable[Taste], users: int, form: Form) -> list[Taste]:
    """The tastes; the refusal of too many does not put the others together."""
    found, inputs = [], 0
    for taste in tastes:
        found.append(taste)
        inputs += -(-len(taste.candidates) // form.candidates) if taste.seeds else 0
        if users > 1 and inputs > MAX_INPUTS:
            raise _too_many(users)
    return found


def _too_many(users: int) -> PlatformError:
    return PlatformError(
        ErrorKind.CHARGE_TOO_LARGE,
        f"Recommendations for these {users:,} users take more than the {MAX_INPUTS} inputs of a call; ask for fewer users at"
        " once.",
    )


def _needed(taste: Taste, limit: int) -> Iterable[int]:
    """Keys of the items whose rows are read: where nothing is scored, only what is shown."""
    return (*taste.seeds, *taste.candidates) if taste.seeds else taste.candidates[:limit]


def _scored(tastes: Sequence[Taste]) -> Iterable[int]:
    """Keys of the items whose vectors are needed, without repetition: what tells tastes first."""
    scored = [taste for taste in tastes if taste.seeds]
    return dict.fromkeys(itertools.chain(*(taste.seeds for taste in scored), *(taste.candidates for taste in scored)))


def _ranked(
    parts: Sequence[tuple[list[Row], PredictResult | PlatformError]], taste: Taste, limit: int
) -> Recommendations | PlatformError:
    """The best of all parts; equal scores stand in the order of the candidates. A problem of a part is the user's."""
    found: list[tuple[float, Row]] = []
    results: list[PredictResult] = []
    for candidates, result in parts:
        if isinstance(result, PlatformError):
            return result
        assert result.embedding is not None  # noqa: S101 - the recommender has no labels
        found += zip(map(float, result.embedding), candidates, strict=False)
        results.append(result)
    found.sort(key=lambda pair: -pair[0])
    return Recommendations(
        items=tuple(_item(row, round(score, _SCORE_DIGITS)) for score, row in found[:limit]),
        model=results[0].model,
        model_version=results[0].model_version,
        units=sum(result.units for result in results),
        cached=all(result.cached for result in results),
        basis=taste.basis,
    )


def _newest(taste: Taste, rows: Mapping[int, Row], form: Form, limit: int) -> Recommendations:
    """The first candidates as they are, without scores."""
    shown = (rows[pk] for pk in taste.candidates[:limit] if pk in rows)
    items = tuple(_item(row, None) for row in shown)
    basis: Basis = "newest" if items else taste.basis
    return Recommendations(items, form.ref.name, form.ref.version, units=0, cached=False, basis=basis)


def _item(row: Row, score: float | None) -> RecommendedItem:
    return RecommendedItem(row.external_id, row.title, score, tuple(row.categories))
