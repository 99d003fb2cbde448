"""``GET …/usage``, ``…/limits``, ``…/limits/explain/{request_id}`` and ``…/me``: what a key may know of its tenant."""

import csv
import datetime as dt
import io
from collections.abc import Sequence
from dataclasses import fields
from typing import Any, Final, get_args

from django.http import HttpResponse
from rest_framework.request import Request
from rest_framework.response import Response

from billing import admission
from billing.admission import Decision, LimitState, Refusal
from billing.contracts import contract_of
from billing.http.keyed import peek
from billing.metering import reports as usage_reports
from billing.metering.reports import Grouping, UsageLine
from billing.rest import answers
from billing.rest.views import KeyedView
from mlplatform.lib import clock
from mlplatform.lib.errors import ErrorKind, PlatformError, invalid
from tenants import scopes
from tenants.authentication import Caller
from tenants.http.answers import Day
from tenants.http.json_schemas import field_schema
from tenants.rest.declarations import ApiOperation, documented, in_path, query

_MAX_DAYS: Final = 366
_TAG: Final = "Usage and limits"
_DAY: Final = field_schema(Day)


@documented(
    get=ApiOperation(
        id="getMe",
        tag="Key",
        summary="Who am I?",
        description="The key that is calling, its tenant and its plan. Needs no scope.",
        answer=answers.Me,
    )
)
class MeView(KeyedView):
    """Who the key is, and what it may do. Needs no scope: a key may know itself."""

    def get(self, request: Request, path_version: str = "") -> Response:
        return self.read(request, "", lambda caller, api_version: _me(caller))


@documented(
    get=ApiOperation(
        id="getUsage",
        tag=_TAG,
        summary="What was used",
        description="Sums of your tenant's usage over at most 366 days (UTC). Needs the scope `usage:read`. A call that "
        "was answered is counted here a second or two later; the RateLimit header tells it at once.",
        answer=answers.Usage,
        also={"text/csv": {"type": "string", "description": "One line for each group, after a line of column names."}},
        kinds=[ErrorKind.INVALID_INPUT],
        parameters=[
            query("from", "First day; by default 29 days before the last.", _DAY),
            query("to", "Last day; by default today.", _DAY),
            query("by", "What to group by.", {"type": "string", "enum": list(get_args(Grouping)), "default": "day"}),
            query("format", "The form of the answer.", {"type": "string", "enum": ["json", "csv"], "default": "json"}),
        ],
    )
)
class UsageView(KeyedView):
    """Usage of the tenant from ``from`` to ``to`` (days, UTC), grouped ``by``, as JSON or with ``format=csv``."""

    def get(self, request: Request, path_version: str = "") -> Response | HttpResponse:
        def handle(caller: Caller, api_version: str) -> Any:
            first, last = _days(request)
            by = _grouping(request)
            form = _form(request)
            report = usage_reports.summary(tenant_id=caller.tenant_id, first=first, last=last, by=by)
            if form == "csv":
                return _csv(report.lines, by)
            return answers.Usage(
                first=first.isoformat(),
                last=last.isoformat(),
                by=by,
                lines=[_line(line, by) for line in report.lines],
                total=answers.UsageTotal(**_numbers(report.total)),
            )

        return self.read(request, "usage:read", handle)


@documented(
    get=ApiOperation(
        id="getLimits",
        tag=_TAG,
        summary="What is left now",
        description="The state of every limit of the key. Takes nothing. Needs the scope `usage:read`.",
        answer=answers.Limits,
    )
)
class LimitsView(KeyedView):
    """The state of every limit of the key now."""

    def get(self, request: Request, path_version: str = "") -> Response:
        def handle(caller: Caller, api_version: str) -> tuple[Any, Decision | None]:
            scopes.require(caller.scopes, "usage:read")
            contract = contract_of(caller)
            decision = peek(contract)
            limits = [_limit(state) for state in decision.states]
            return answers.Limits(plan=contract.plan_name or None, limits=limits), decision

        return self.answer(request, handle)


@documented(
    get=ApiOperation(
        id="explainRefusal",
        tag=_TAG,
        summary="Why was this call refused?",
        description="For a call of your tenant that a limit refused within the last 24 hours: the state of every limit at "
        "that moment, which of them refused, who set them, and when the call would have passed. Needs the scope "
        "`usage:read`.",
        answer=answers.Refusal,
        parameters=[
            in_path(
                "request_id",
                "The `request_id` of the problem, which is its X-Request-Id header too.",
                {"type": "string"},
            )
        ],
    )
)
class ExplainView(KeyedView):
    """Why a call of the last 24 hours was refused."""

    def get(self, request: Request, path_version: str = "", request_id: str = "") -> Response:
        def handle(caller: Caller, api_version: str) -> answers.Refusal:
            refusal = admission.explain(shard=caller.shard, tenant_id=caller.tenant_id, request_id=request_id)
            if refusal is None:
                raise PlatformError(
                    ErrorKind.NOT_FOUND,
                    "No call with this request id was refused by a limit within the last 24 hours.",
                )
            return _refusal(refusal)

        return self.read(request, "usage:read", handle)


_NUMBERS = tuple(field.name for field in fields(UsageLine) if field.name != "value")


def _me(caller: Caller) -> answers.Me:
    return answers.Me(
        tenant=answers.MyTenant(
            slug=caller.tenant_slug, name=caller.tenant_name, default_model=caller.default_model or None
        ),
        key=answers.MyKey(
            id=caller.key_uid,
            name=caller.key_name,
            mode=caller.mode,
            scopes=sorted(caller.scopes),
            allowed_models=sorted(caller.allowed_models) or None,
            allowed_networks=[str(network) for network in caller.networks] or None,
            pinned_api_version=caller.pinned_api_version or None,
            valid_until=caller.valid_until.isoformat() if caller.valid_until else None,
        ),
        plan=contract_of(caller).plan_name or None,
    )


def _days(request: Request) -> tuple[dt.date, dt.date]:
    today = clock.now().date()
    last = _day(request, "to", today)
    try:
        default = last - dt.timedelta(days=29)
    except OverflowError:
        default = dt.date.min
    first = _day(request, "from", default)
    if first > last:
        raise invalid("from", "The first day lies after the last.")
    if (last - first).days >= _MAX_DAYS:
        raise invalid("from", f"A report covers at most {_MAX_DAYS} days.")
    return first, last


def _day(request: Request, name: str, default: dt.date) -> dt.date:
    text = request.GET.get(name)
    if text is None:
        return default
    try:
        return dt.date.fromisoformat(text)
    except ValueError as error:
        raise invalid(name, "Write the day as 2026-11-30.") from error


def _grouping(request: Request) -> Grouping:
    by = request.GET.get("by", "day")
    for known in get_args(Grouping):
        if by == known:
            return known  # type: ignore[no-any-return]
    raise invalid("by", f"Usage is grouped by {', '.join(get_args(Grouping))}.")


def _form(request: Request) -> str:
    form = request.GET.get("format", "json")
    if form not in {"json", "csv"}:
        raise invalid("format", "Usage is written as json or csv.")
    return form


def _line(line: UsageLine, by: Grouping) -> answers.UsageLine:
    group: dict[str, Any] = {by: line.value}
    if by == "model":
        group["what"] = usage_reports.named(line.value)
    return answers.UsageLine(**group, **_numbers(line))


def _numbers(line: UsageLine) -> dict[str, Any]:
    numbers = {name: getattr(line, name) for name in _NUMBERS}
    return numbers | {"cache_hit_ratio": usage_reports.hit_ratio(line.inputs, line.cached_inputs)}


def _csv(lines: Sequence[UsageLine], by: str) -> HttpResponse:
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow([by, *_NUMBERS])
    for line in lines:
        value = usage_reports.named(line.value) if by == "model" else line.value
        writer.writerow([_plain(value), *(getattr(line, name) for name in _NUMBERS)])
    return HttpResponse(
        text.getvalue(),
        content_type="text/csv; charset=utf-8",
        headers={"Content-Disposition": f'attachment; filename="usage-by-{by}.csv"'},
    )


def _plain(value: str) -> str:
    """A value that a spreadsheet takes for text: one that begins like a formula gets a quote before it."""
    return f"'{value}" if value[:1] in {"=", "+", "-", "@"} else value


def _limit(state: LimitState) -> answers.LimitNow:
    limit = state.limit
    return answers.LimitNow(
        name=limit.name,
        kind=limit.kind.value,
        counts=limit.counts,
        scope=limit.scope,
        model=limit.subject or None,
        amount=limit.amount,
        window_s=limit.window_s or None,
        refill_per_s=limit.rate or None,
        set_by=limit.source,
        remaining=max(0, state.remaining),
        whole_again_in_s=round(state.reset_s, 3),
    )


def _refusal(refusal: Refusal) -> answers.Refusal:
    return answers.Refusal(
        request_id=refusal.request_id,
        refused_at=refusal.at.isoformat(),
        would_have_passed_at=refusal.would_pass_at.isoformat() if refusal.would_pass_at else None,
        limits=[
            answers.LimitThen(
                name=limit.name,
                kind=limit.kind.value,
                counts=limit.counts,
                scope=limit.scope,
                model=limit.subject or None,
                amount=limit.amount,
                set_by=limit.source,
                asked=limit.asked,
                remaining=limit.remaining,
                refused=limit.refused,
                would_have_passed_after_s=round(limit.wait_s, 3) if refusal.would_pass_at else None,
            )
            for limit in refusal.limits
        ],
    )
