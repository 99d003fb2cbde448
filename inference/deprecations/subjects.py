"""What a deprecation schedule may name, as far as only this floor knows it: model versions and who answers for them."""

from collections import defaultdict

from django.conf import settings
from django.core.exceptions import ValidationError

from inference.models import ModelVersion, VersionState
from inference.registry import names
from inference.registry.versions import ANSWERING
from tenants.deprecations import catalogue, rules
from tenants.deprecations.catalogue import KnownVersion
from tenants.models import DeprecationSchedule, SubjectKind


def kind_of(subject: str) -> SubjectKind:
    """``sentiment@1.0.0`` is a model version and ``v1`` an API version: the names never collide."""
    return SubjectKind.MODEL_VERSION if "@" in subject else SubjectKind.API_VERSION


def choices(kind: str) -> list[tuple[str, str]]:
    """Every subject of the kind as value and label: API versions oldest first, model versions that answer by name."""
    if kind == SubjectKind.API_VERSION:
        return [(name, name) for name in catalogue.current().api_versions]
    rows = names.versions().filter(state__in=ANSWERING).order_by("model__name", "model__owner__slug", "pk")
    return [(str(row), f"{row} (live)" if row.state == VersionState.LIVE else str(row)) for row in rows]


def plannable_api_versions() -> frozenset[str]:
    """API versions whose end can be planned: without one, not the default, and older than one that can take their callers."""
    known = [*catalogue.current().api_versions.values()]
    return frozenset(
        one.name
        for at, one in enumerate(known)
        if one.schedule is None
        and one.name != settings.DEFAULT_API_VERSION
        and any(_takes_callers(newer) for newer in known[at + 1 :])
    )


def plannable() -> frozenset[str]:
    """These, and model versions that answer, are not live and leave another one of their model; one query."""
    ending = catalogue.current().models
    by_model: dict[int, list[ModelVersion]] = defaultdict(list)
    for row in names.versions().filter(state__in=ANSWERING):
        if str(row) not in ending:
            by_model[row.model_id].append(row)
    several = [row for rows in by_model.values() if len(rows) > 1 for row in rows]
    return plannable_api_versions() | {str(row) for row in several if row.state != VersionState.LIVE}


def _takes_callers(version: KnownVersion) -> bool:
    return version.released_at is not None and version.schedule is None


def successor_of(subject: str) -> str:
    """The likeliest successor: the newest active API version, or the model's live version. Empty when there is none."""
    if kind_of(subject) is SubjectKind.MODEL_VERSION:
        model = subject.partition("@")[0]
        live = names.versions().filter(names.is_named(model, of="model"), state=VersionState.LIVE).first()
        return str(live) if live is not None and str(live) != subject else ""
    newest = [
        known.name
        for known in catalogue.current().api_versions.values()
        if known.schedule is None and known.released_at
    ]
    return next((name for name in reversed(newest) if name != subject), "")


def validate(row: DeprecationSchedule) -> None:
    """Raises ValidationError that names each wrong field; for model versions, and for chains of both kinds.

    The rest, such as the order of the dates, is ``tenants.deprecations.schedules.validate``'s, which is to be asked too.
    """
    problems: dict[str, str] = {}
    if row.kind == SubjectKind.MODEL_VERSION:
        problems |= _subject_problems(row) | _successor_problems(row)
    if "subject" not in problems:
        problems |= _chain_problems(row)
    if problems:
        raise ValidationError(problems)


def _subject_problems(row: DeprecationSchedule) -> dict[str, str]:
    version = names.version(row.subject)
    if version is None:
        return {"subject": f"There is no model version {row.subject}."}
    if version.state == VersionState.LIVE:
        return {
            "subject": f"{row.subject} is live: promote its successor first, so that calls of the model still have an answer."
        }
    if row._state.adding and version.state not in ANSWERING:
        return {"subject": f"{row.subject} is {version.get_state_display().lower()} and answers no calls."}
    return {}


def _successor_problems(row: DeprecationSchedule) -> dict[str, str]:
    version = names.version(row.successor)
    model = row.subject.partition("@")[0]
    if version is None or version.model.qualified_name != model or row.successor == row.subject:
        return {"successor": f"The successor is another version of {model}."}
    if version.state not in ANSWERING:
        return {
            "successor": f"{row.successor} is {version.get_state_display().lower()}; choose a version that answers."
        }
    end = catalogue.current().models.get(row.successor)
    if (
        rules.state(released_at=version.created_at, schedule=end, at=max(row.sunset_at, version.created_at))
        not in rules.RECOMMENDABLE
    ):
        return {"successor": f"{row.successor} must be active when {row.subject} ends, without an end of its own."}
    return {}


def _chain_problems(row: DeprecationSchedule) -> dict[str, str]:
    """A version to which another still sends its callers cannot be deprecated before that one has ended."""
    waiting = (
        DeprecationSchedule.objects.filter(
            kind=row.kind, successor=row.subject, canceled_at__isnull=True, sunset_at__gte=row.deprecate_at
        )
        .order_by("-sunset_at")
        .first()
    )
    if waiting is None:
        return {}
    return {
        "deprecate_at": f"{waiting.subject} sends its callers to {row.subject} until {waiting.sunset_at:%Y-%m-%d}: "
        "deprecate it later, or give that one another successor."
    }
