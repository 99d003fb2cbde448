"""``…/deprecations``: what ends for the tenant and when, and rehearsals of its brownouts and its migration."""

import datetime as dt
import re
from typing import Annotated, Final

from django.conf import settings
from msgspec import Meta
from rest_framework.request import Request
from rest_framework.response import Response

from billing.metering.version_use import LOOKED_BACK_DAYS
from billing.rest.views import KeyedView
from inference.deprecations.impact import concerns
from inference.deprecations.impact.concerns import Concern
from inference.deprecations.notices import banners
from inference.deprecations.notices.banners import Banner
from inference.deprecations.rehearsals import jobs as rehearsal_jobs
from inference.deprecations.rehearsals import report
from inference.models import Rehearsal
from inference.rest import deprecation_answers as answers
from inference.rest.auditing import audited
from mlplatform.lib.errors import ErrorKind, PlatformError
from tenants.authentication import Caller
from tenants.deprecations import schedules
from tenants.deprecations.rules import Window
from tenants.deprecations.schedules import LONGEST_REHEARSAL_MIN
from tenants.http import messages
from tenants.http.call import Reply
from tenants.http.json_schemas import Schema
from tenants.http.messages import Message
from tenants.models import Tenant
from tenants.rest.declarations import ApiOperation, Example, documented, header, in_path

READ, WRITE = "lifecycle:read", "lifecycle:write"
_ID = re.compile(r"[1-9][0-9]{0,17}")
_TAG: Final = "Deprecations"
_TEXT: Final[Schema] = {"type": "string"}
_BY_ID: Final = in_path("deprecation_id", "The `id` of the deprecation.", {"type": "string"})
_READ: Final = "Needs the scope `lifecycle:read`."
_WRITE: Final = "Needs the scope `lifecycle:write`. Costs nothing."
_BODY_KINDS: Final = (ErrorKind.PAYLOAD_TOO_LARGE, ErrorKind.UNSUPPORTED_MEDIA_TYPE, ErrorKind.INVALID_INPUT)


class BrownoutRequest(Message, frozen=True):
    """How long and how much of the ending version shall fail."""

    minutes: Annotated[int, Meta(ge=1, le=LONGEST_REHEARSAL_MIN)]
    share: Annotated[int, Meta(ge=1, le=100, description="Percent of your calls of the subject that shall fail.")]


class RehearsalRequest(Message, frozen=True):
    """Nothing; the address says which migration."""


@documented(
    get=ApiOperation(
        id="listDeprecations",
        tag=_TAG,
        summary="What ends, and when",
        description="Every API version and model version whose end was announced and that concerns your tenant: dates, your "
        f"use, brownouts, and whether you are ready. The one that ends first comes first. {_READ}",
        answer=answers.Deprecations,
    )
)
class DeprecationsView(KeyedView):
    """Everything announced that concerns the tenant."""

    def get(self, request: Request, path_version: str = "") -> Response:
        def handle(caller: Caller, api_version: str) -> answers.Deprecations:
            found = concerns.of_tenant(tenant_id=caller.tenant_id)
            shown = _banners(caller)
            return answers.Deprecations([_deprecation(one, shown.get(one.schedule.id)) for one in found])

        return self.read(request, READ, handle)


@documented(
    get=ApiOperation(
        id="getDeprecation",
        tag=_TAG,
        summary="One deprecation",
        description=f"One of those that GET /v2/deprecations lists. {_READ}",
        answer=answers.Deprecation,
        parameters=[_BY_ID],
    )
)
class DeprecationView(KeyedView):
    """One of them."""

    def get(self, request: Request, deprecation_id: str, path_version: str = "") -> Response:
        def handle(caller: Caller, api_version: str) -> answers.Deprecation:
            concern = _concern(caller, deprecation_id)
            return _deprecation(concern, _banners(caller).get(concern.schedule.id))

        return self.read(request, READ, handle)


@documented(
    post=ApiOperation(
        id="rehearseBrownout",
        tag=_TAG,
        summary="Rehearse a brownout",
        description="From now on, for some minutes, a share of your tenant's calls of the ending version fails as in a "
        "planned brownout, uncharged; other tenants notice nothing. A rehearsal that runs is replaced. "
        f"{_WRITE}",
        request=BrownoutRequest,
        answer=answers.Brownout,
        kinds=(*_BODY_KINDS, ErrorKind.CONFLICT),
        parameters=[_BY_ID],
        examples=[Example("Half of the calls", {"minutes": 10, "share": 50})],
    ),
    delete=ApiOperation(
        id="stopBrownout",
        tag=_TAG,
        summary="Stop the rehearsed brownout",
        description=f"At once; calls are answered again within a second everywhere. {_WRITE}",
        answer=answers.BrownoutStopped,
        parameters=[_BY_ID],
    ),
)
class BrownoutView(KeyedView):
    """A brownout of the tenant's own calls: begin or replace it, or stop it at once."""

    def post(self, request: Request, deprecation_id: str, path_version: str = "") -> Response:
        call = self.call(request)

        def handle(caller: Caller, api_version: str) -> answers.Brownout:
            concern = _concern(caller, deprecation_id)
            said = messages.read(call.json_object(), BrownoutRequest)
            with audited(call, caller):
                row = schedules.rehearse_brownout(
                    schedule_id=concern.schedule.id, tenant=_tenant(caller), minutes=said.minutes, share=said.share
                )
            return _brownout(Window(row.pk, row.starts_at, row.ends_at, row.share, row.tenant_id))

        return self.read(request, WRITE, handle)

    def delete(self, request: Request, deprecation_id: str, path_version: str = "") -> Response:
        call = self.call(request)

        def handle(caller: Caller, api_version: str) -> answers.BrownoutStopped:
            concern = _concern(caller, deprecation_id)
            with audited(call, caller):
                stopped = schedules.stop_rehearsal(schedule_id=concern.schedule.id, tenant=_tenant(caller))
            return answers.BrownoutStopped(stopped)

        return self.read(request, WRITE, handle)


@documented(
    get=ApiOperation(
        id="getRehearsal",
        tag=_TAG,
        summary="The report of the rehearsed migration",
        description=f"Of the latest rehearsal, whatever its state. {_READ}",
        answer=answers.Rehearsal,
        parameters=[_BY_ID],
    ),
    post=ApiOperation(
        id="rehearseMigration",
        tag=_TAG,
        summary="Rehearse the migration",
        description="Replay your tenant's sampled calls of the ending version on its successor, unbilled and after "
        f"all other work, and report what would change. Your tenant must have opted in to keep calls. {_WRITE}",
        request=RehearsalRequest,
        answer=answers.Rehearsal,
        status=202,
        kinds=(*_BODY_KINDS, ErrorKind.CONFLICT),
        parameters=[_BY_ID, header("Location", "Where the report will be.", _TEXT, codes=[202])],
        examples=[Example("Nothing to say", {})],
    ),
)
class RehearsalView(KeyedView):
    """The migration, rehearsed with the tenant's sampled calls: ask for it, and read its report."""

    def get(self, request: Request, deprecation_id: str, path_version: str = "") -> Response:
        def handle(caller: Caller, api_version: str) -> answers.Rehearsal:
            concern = _concern(caller, deprecation_id)
            if concern.rehearsal is None:
                raise PlatformError(ErrorKind.NOT_FOUND, "This migration was not rehearsed yet; POST to this address.")
            return _rehearsal(concern.rehearsal)

        return self.read(request, READ, handle)

    def post(self, request: Request, deprecation_id: str, path_version: str = "") -> Response:
        call = self.call(request)

        def handle(caller: Caller, api_version: str) -> Reply:
            concern = _concern(caller, deprecation_id)
            messages.read(call.json_object(), RehearsalRequest)
            with audited(call, caller):
                row = rehearsal_jobs.request(schedule_id=concern.schedule.id, tenant=_tenant(caller))
            place = f"/{api_version}/deprecations/{concern.schedule.id}/rehearsal"
            return Reply(_rehearsal(row), status=202, headers={"Location": place})

        return self.read(request, WRITE, handle)


def _concern(caller: Caller, deprecation_id: str) -> Concern:
    """Raises NOT_FOUND for whatever is no deprecation of the tenant's concern."""
    number = int(deprecation_id) if _ID.fullmatch(deprecation_id) else 0
    return concerns.one(schedule_id=number, tenant_id=caller.tenant_id)


def _tenant(caller: Caller) -> Tenant:
    return Tenant.objects.get(pk=caller.tenant_id)


def _banners(caller: Caller) -> dict[int, Banner]:
    return {banner.schedule_id: banner for banner in banners.banners_of(tenant_id=caller.tenant_id)}


def _deprecation(concern: Concern, banner: Banner | None) -> answers.Deprecation:
    schedule = concern.schedule
    return answers.Deprecation(
        id=schedule.id,
        kind=schedule.kind,
        subject=schedule.subject,
        state=concern.state.value,
        successor=schedule.successor,
        guide=f"{settings.BASE_URL}{schedule.guide}",
        reason=concern.reason,
        announced_at=schedule.announce_at.isoformat(),
        deprecated_at=schedule.deprecate_at.isoformat(),
        sunset_at=schedule.sunset_at.isoformat(),
        own_sunset_at=concern.sunset_at.isoformat(),
        use=answers.DeprecationUse(LOOKED_BACK_DAYS, concern.calls, _moment(concern.last_call_at)),
        brownouts=[_brownout(window) for window in concern.brownouts],
        banner=answers.Banner(banner.severity.value, banner.title, banner.text) if banner else None,
        rehearsal=answers.LatestRehearsal(
            verdict=concern.verdict or answers.NOT_REHEARSED,
            state=concern.rehearsal.state if concern.rehearsal is not None else None,
        ),
    )


def _brownout(window: Window) -> answers.Brownout:
    return answers.Brownout(
        starts_at=window.starts_at.isoformat(),
        ends_at=window.ends_at.isoformat(),
        share=window.share,
        own=window.tenant_id is not None,
    )


def _rehearsal(row: Rehearsal) -> answers.Rehearsal:
    return answers.Rehearsal(
        state=row.state,
        verdict=row.verdict or None,
        error=row.error or None,
        requested_at=row.created_at.isoformat(),
        finished_at=_moment(row.finished_at),
        report=report.read(row.report),
    )


def _moment(moment: dt.datetime | None) -> str | None:
    return moment.isoformat() if moment is not None else None
