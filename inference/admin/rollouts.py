"""The page "Rollouts" of a model: what is live, going back in one click, canary and shadow with what was observed."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.safestring import SafeString

from inference.admin.rollout_forms import CanaryForm, ShadowForm, to_be_tried
from inference.models import MLModel, ModelVersion, PromotionReason, Rollout, RolloutKind, RolloutState, VersionState
from inference.registry import versions
from inference.registry.rollouts import promotions, trials
from inference.registry.rollouts.managing import version_of
from tenants.admin import formats
from tenants.admin.confirmation import do
from tenants.admin.kit import StaffAdmin, action
from tenants.models import User

_HISTORY: Final = 20
_TONES: Final[dict[str, formats.Tone]] = {
    RolloutState.RUNNING: "info",
    RolloutState.PROMOTED: "success",
    RolloutState.ROLLED_BACK: "danger",
    RolloutState.STOPPED: "neutral",
}


@dataclass(frozen=True, slots=True)
class Line:
    """What is known of one arm of a canary, in words."""

    name: str
    inputs: str
    errors: str
    rate: str
    median: str


class RolloutPages(StaffAdmin[MLModel]):
    """The view, for the admin of models."""

    @action(description="Rollouts", permissions=["view"], icon="alt_route")
    def rollouts(self, request: HttpRequest, object_id: str) -> HttpResponse:
        model = get_object_or_404(MLModel.objects.select_related("owner"), pk=object_id)
        running = {
            row.kind: row
            for row in Rollout.objects.select_related("candidate__model__owner", "started_by").filter(
                model=model, state=RolloutState.RUNNING
            )
        }
        canary, shadow = running.get(RolloutKind.CANARY), running.get(RolloutKind.SHADOW)
        asked = request.POST.get("act", "") if request.method == "POST" else ""
        forms = {
            "start_canary": CanaryForm(model=model, running=canary, data=_own(request, asked == "start_canary")),
            "start_shadow": ShadowForm(model=model, running=shadow, data=_own(request, asked == "start_shadow")),
        }
        if request.method == "POST":
            if not self.has_change_permission(request, model):
                raise PermissionDenied
            form = forms.get(asked)
            if form is None or form.is_valid():
                given = form.cleaned_data if form is not None else {}
                do(request, _act(asked, model, given, by=_person(request)))
                return HttpResponseRedirect(reverse("admin:inference_mlmodel_rollouts", args=[object_id]))
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "media": self.media,
            "title": f"Rollouts of {model}",
            "may_change": self.has_change_permission(request, model),
            "canary": _canary(canary),
            "canary_form": forms["start_canary"],
            "shadow": _shadow(shadow),
            "shadow_form": forms["start_shadow"],
            **_facts(model),
        }
        return TemplateResponse(request, "admin/inference/rollouts.html", context)


def _act(asked: str, model: MLModel, given: Mapping[str, Any], *, by: User | None) -> Callable[[], str]:
    """What a button does: the service, and the sentence that tells of it."""

    def roll_back() -> str:
        return f"{versions.rollback(model=model, by=by)} is live again."

    def start_canary() -> str:
        bounds = {name: value for name, value in given.items() if name != "version"}
        row = trials.start_canary(version=version_of(model, given["version"]), by=by, **bounds)
        return f"{row.candidate} answers {row.percent} % of the tenants."

    def start_shadow() -> str:
        row = trials.start_shadow(version=version_of(model, given["version"]), percent=given["percent"], by=by)
        return f"{row.candidate} computes {row.percent} % of the inputs beside the live version."

    def stop(kind: RolloutKind) -> str:
        stopped = trials.stop(model=model, kind=kind, by=by)
        return f"The {kind.label.lower()} is stopped." if stopped else f"No {kind.label.lower()} was running."

    known: dict[str, Callable[[], str]] = {
        "roll_back": roll_back,
        "start_canary": start_canary,
        "start_shadow": start_shadow,
        "stop_canary": lambda: stop(RolloutKind.CANARY),
        "stop_shadow": lambda: stop(RolloutKind.SHADOW),
    }
    return known.get(asked, lambda: "Nothing was asked for.")


def _facts(model: MLModel) -> dict[str, Any]:
    live = ModelVersion.objects.filter(model=model, state=VersionState.LIVE).first()
    ended = (
        Rollout.objects.select_related("candidate__model__owner")
        .filter(model=model)
        .exclude(state=RolloutState.RUNNING)
    )
    return {
        "model": model,
        "owner": model.owner,
        "live": live,
        "live_since": formats.age(live.live_since if live else None, never="at an unknown time"),
        "ready": [] if live else [{"version": one.version, "promote": _promote(one.pk)} for one in to_be_tried(model)],
        "back": promotions.target_of_rollback(model, live=live) if live else None,
        "history": [
            {
                "version": one.version.version,
                "reason": formats.badge(
                    one.get_reason_display(), "danger" if one.reason == PromotionReason.ROLLED_BACK else "success"
                ),
                "at": formats.age(one.at),
                "by": one.by,
            }
            for one in promotions.history(model, most=_HISTORY)
        ],
        "ended": [
            {
                "version": row.candidate.version,
                "kind": row.get_kind_display(),
                "percent": row.percent,
                "state": _state(row),
                "reason": row.reason,
                "at": formats.age(row.ended_at),
            }
            for row in ended[:_HISTORY]
        ],
    }


def _canary(row: Rollout | None) -> dict[str, Any] | None:
    if row is None:
        return None
    seen = row.observed or {"canary": {}, "live": {}}
    return _trial(row) | {
        "lines": [
            _line(f"{row.candidate.version}, the canary", seen["canary"]),
            _line("the live version", seen["live"]),
        ],
        "max_error_rate": f"{row.max_error_rate:.1%}",
        "max_latency_ratio": f"{row.max_latency_ratio:g}",
        "min_calls": f"{row.min_calls:,}",
        "too_few": seen["canary"].get("inputs", 0) < row.min_calls,
    }


def _shadow(row: Rollout | None) -> dict[str, Any] | None:
    if row is None:
        return None
    seen = row.observed
    compared, difference = seen.get("compared", 0), seen.get("mean_difference")
    return _trial(row) | {
        "figures": [
            ("Compared", f"{compared:,}"),
            ("Agreed", f"{seen.get('agreed', 0) / compared:.1%}" if compared else "–"),
            ("Mean difference", f"{difference:.4f}" if difference is not None else "–"),
            ("Failed", f"{seen.get('errors', 0):,}"),
            ("Not taken", f"{seen.get('refused', 0):,}"),
            ("Dropped", f"{seen.get('dropped', 0):,}"),
        ]
    }


def _trial(row: Rollout) -> dict[str, Any]:
    return {
        "version": row.candidate,
        "percent": row.percent,
        "since": formats.age(row.started_at),
        "by": row.started_by,
        "promote": _promote(row.candidate_id),
    }


def _promote(version_id: int) -> str:
    return reverse("admin:inference_modelversion_promote", args=[version_id])


def _line(name: str, seen: Mapping[str, Any]) -> Line:
    inputs, errors, median = seen.get("inputs", 0), seen.get("errors", 0), seen.get("median_ms")
    rate = f"{errors / inputs:.1%}" if inputs else "–"
    return Line(name, f"{inputs:,}", f"{errors:,}", rate, f"{median:,.1f} ms" if median is not None else "–")


def _state(row: Rollout) -> SafeString:
    return formats.badge(row.get_state_display(), _TONES[row.state], why=row.reason)


def _own(request: HttpRequest, meant: bool) -> Any:
    """The data of the form that was sent; the other on the page stays unbound."""
    return request.POST if meant else None


def _person(request: HttpRequest) -> User | None:
    return request.user if isinstance(request.user, User) else None
