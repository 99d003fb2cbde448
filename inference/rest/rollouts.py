"""``/v2/models/{model}/promote``, ``…/rollback``, ``…/canary``, ``…/shadow``, ``…/purge``, and ``/v2/admin/update-model``.

For keys with the scope ``models:write``: of the tenant that owns the model, or of an operator. Every change answers with the
model's rollouts as they are after it.
"""

from collections.abc import Callable
from typing import Any, Final

import msgspec
from django.db import transaction
from rest_framework.request import Request
from rest_framework.response import Response

from billing.rest.views import KeyedView
from inference.models import MLModel, ModelVersion, Rollout, RolloutKind, RolloutState, VersionState
from inference.registry import versions
from inference.registry.rollouts import promotions, trials
from inference.registry.rollouts.managing import model_of, version_of
from inference.rest import rollout_answers as answers
from inference.rest.auditing import audited
from inference.rest.rollout_messages import CanaryRequest, PromoteRequest, ShadowRequest, UpdateModelRequest
from mlplatform.lib.errors import ErrorKind
from tenants.authentication import Caller
from tenants.http import messages
from tenants.http.messages import EmptyRequest, M, Message
from tenants.rest.declarations import (
    ApiOperation,
    Example,
    documented,
    in_path,
)

SCOPE: Final = "models:write"
_HISTORY: Final = 20
_TAG: Final = "Rollouts"
_MODEL: Final = in_path("model", "The model's name, without a version.", {"type": "string"})
_WRITE: Final = (
    "Needs the scope `models:write`, of a key of the tenant that owns the model or of an operator. Costs nothing."
)
_BODY_KINDS: Final = (ErrorKind.PAYLOAD_TOO_LARGE, ErrorKind.UNSUPPORTED_MEDIA_TYPE, ErrorKind.INVALID_INPUT)
_ALL_KINDS: Final = (*_BODY_KINDS, ErrorKind.CONFLICT)


def _posted(id: str, summary: str, description: str, request: type[Message], *examples: dict[str, Any]) -> ApiOperation:  # noqa: A002
    named = [Example(f"Example {number}", one) for number, one in enumerate(examples, 1)]
    return ApiOperation(
        id=id,
        tag=_TAG,
        summary=summary,
        description=f"{description} {_WRITE}",
        request=request,
        answer=answers.Rollouts,
        kinds=_ALL_KINDS,
        parameters=[] if id == "updateModel" else [_MODEL],
        examples=named,
    )


def _deleted(id: str, summary: str) -> ApiOperation:  # noqa: A002
    return ApiOperation(
        id=id,
        tag=_TAG,
        summary=summary,
        description=f"At once; where none runs, nothing changes. {_WRITE}",
        answer=answers.Rollouts,
        parameters=[_MODEL],
    )


class _ManagedView(KeyedView):
    def change(
        self, request: Request, message: type[M], act: Callable[[MLModel, M], object], *, model: str = ""
    ) -> Response:
        """Run ``act(model, message)`` on a model that the caller manages, and show the outcome. The model is the one that the
        address names, else the one that the message does."""
        call = self.call(request)

        def handle(caller: Caller, api_version: str) -> answers.Rollouts:
            said = messages.read(call.json_object() if request.method != "DELETE" else {}, message)
            managed = model_of(caller, said.model if isinstance(said, UpdateModelRequest) else model)
            with audited(call, caller), transaction.atomic():
                act(managed, said)
            return shown(managed)

        return self.read(request, SCOPE, handle)


@documented(
    get=ApiOperation(
        id="getRollouts",
        tag=_TAG,
        summary="What is live and what is tried",
        description=f"The live version, the running canary and shadow with what was observed, and the history. {_WRITE}",
        answer=answers.Rollouts,
        parameters=[_MODEL],
    )
)
class RolloutsView(KeyedView):
    """What is live, what is tried, and how it came to that."""

    def get(self, request: Request, model: str, path_version: str = "") -> Response:
        return self.read(request, SCOPE, lambda caller, api_version: shown(model_of(caller, model)))


@documented(
    post=_posted(
        "promoteVersion",
        "Promote a version",
        "From now on the ready version answers every call that names the model alone. No call fails, and each answer names "
        "the version that gave it. Where no worker holds the version any more, one is asked to load it, and this answers 409: "
        "send it again in some seconds.",
        PromoteRequest,
        {"version": "2.0.0"},
    )
)
class PromoteView(_ManagedView):
    """Make a ready version live."""

    def post(self, request: Request, model: str, path_version: str = "") -> Response:
        def act(model: MLModel, said: PromoteRequest) -> None:
            versions.promote(version=version_of(model, said.version))

        return self.change(request, PromoteRequest, act, model=model)


@documented(
    post=_posted(
        "rollBack",
        "Roll back",
        "Make that version live again which was live before. Two in a row go back two promotions.",
        EmptyRequest,
        {},
    )
)
class RollbackView(_ManagedView):
    """Make that version live again which was live before."""

    def post(self, request: Request, model: str, path_version: str = "") -> Response:
        return self.change(request, EmptyRequest, lambda model, said: versions.rollback(model=model), model=model)


@documented(
    post=_posted(
        "startCanary",
        "Start or change a canary",
        "Let a ready version answer a share of the tenants, always the same ones. It ends by itself when it breaks a bound.",
        CanaryRequest,
        {"version": "2.0.0", "percent": 5},
    ),
    delete=_deleted("stopCanary", "Stop the canary"),
)
class CanaryView(_ManagedView):
    """Try a version on a share of the tenants, or end that."""

    def post(self, request: Request, model: str, path_version: str = "") -> Response:
        def act(model: MLModel, said: CanaryRequest) -> None:
            trials.start_canary(
                version=version_of(model, said.version),
                percent=said.percent,
                max_error_rate=said.max_error_rate,
                max_latency_ratio=said.max_latency_ratio,
                min_calls=said.min_calls,
            )

        return self.change(request, CanaryRequest, act, model=model)

    def delete(self, request: Request, model: str, path_version: str = "") -> Response:
        return self.change(
            request, EmptyRequest, lambda model, said: trials.stop(model=model, kind=RolloutKind.CANARY), model=model
        )


@documented(
    post=_posted(
        "startShadow",
        "Start or change a shadow",
        "Compute a share of the inputs once more with a ready version and compare the answers. No answer changes, and "
        "nothing is charged.",
        ShadowRequest,
        {"version": "2.0.0", "percent": 10},
    ),
    delete=_deleted("stopShadow", "Stop the shadow"),
)
class ShadowView(_ManagedView):
    """Have a version compute beside the live one, or end that."""

    def post(self, request: Request, model: str, path_version: str = "") -> Response:
        def act(model: MLModel, said: ShadowRequest) -> None:
            trials.start_shadow(version=version_of(model, said.version), percent=said.percent)

        return self.change(request, ShadowRequest, act, model=model)

    def delete(self, request: Request, model: str, path_version: str = "") -> Response:
        return self.change(
            request, EmptyRequest, lambda model, said: trials.stop(model=model, kind=RolloutKind.SHADOW), model=model
        )


@documented(
    post=_posted(
        "purgeModel", "Purge the cache", "Forget every cached answer of the model's versions.", EmptyRequest, {}
    )
)
class PurgeView(_ManagedView):
    """Forget every cached answer of the model."""

    def post(self, request: Request, model: str, path_version: str = "") -> Response:
        return self.change(request, EmptyRequest, lambda model, said: versions.purge_cache(model=model), model=model)


@documented(
    post=_posted(
        "updateModel",
        "Promote and purge",
        "Promote a version and forget every cached answer of the model, both or neither.",
        UpdateModelRequest,
        {"model": "sentiment", "version": "2.0.0"},
    )
)
class UpdateModelView(_ManagedView):
    """Promote a version and purge the model's cache, both or neither."""

    def post(self, request: Request, path_version: str = "") -> Response:
        def act(model: MLModel, said: UpdateModelRequest) -> None:
            versions.promote(version=version_of(model, said.version))
            versions.purge_cache(model=model)

        return self.change(request, UpdateModelRequest, act)


def shown(model: MLModel) -> answers.Rollouts:
    """The rollouts of a model as they are now."""
    live = ModelVersion.objects.filter(model=model, state=VersionState.LIVE).first()
    back = promotions.target_of_rollback(model, live=live)
    running = {
        row.kind: row
        for row in Rollout.objects.select_related("candidate").filter(model=model, state=RolloutState.RUNNING)
    }
    canary, shadow = running.get(RolloutKind.CANARY), running.get(RolloutKind.SHADOW)
    return answers.Rollouts(
        model=model.name,
        live_version=live.version if live else None,
        rollback_version=back.version if back else None,
        canary=_canary(canary) if canary else None,
        shadow=_shadow(shadow) if shadow else None,
        history=[
            answers.LiveSwitch(one.version.version, one.reason, one.at.isoformat())
            for one in promotions.history(model, most=_HISTORY)
        ],
    )


def _canary(row: Rollout) -> answers.Canary:
    return answers.Canary(
        version=row.candidate.version,
        percent=row.percent,
        started_at=row.started_at.isoformat(),
        observed=msgspec.convert(row.observed, answers.ObservedCanary) if row.observed else None,
        max_error_rate=row.max_error_rate,
        max_latency_ratio=row.max_latency_ratio,
        min_calls=row.min_calls,
    )


def _shadow(row: Rollout) -> answers.Shadow:
    return answers.Shadow(
        version=row.candidate.version,
        percent=row.percent,
        started_at=row.started_at.isoformat(),
        observed=msgspec.convert(row.observed, answers.ObservedShadow) if row.observed else None,
    )
