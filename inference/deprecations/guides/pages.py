"""Migration guides: a draft for staff to write on, and the public page with both forms side by side.

What changed comes from the descriptions of the API versions, or from the rows of the model versions; staff add words.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from django.conf import settings
from django.template.loader import render_to_string
from django.utils.safestring import SafeString

from inference import api_versions
from inference.deprecations.guides import samples as guide_samples
from inference.deprecations.guides.written_calls import curl
from inference.registry import names as model_names
from inference.registry import versions as model_versions
from inference.types import ModelRef
from mlplatform.lib import markdown
from tenants.models import SubjectKind

__all__ = ["ChangeRow", "GuidePage", "changes", "curl", "draft", "page"]

_PARTS: Final = {"request": "In the request", "answer": "In the answer", "operation": "New addresses"}
_PLACES: Final = ("changes", "samples")
_SECTIONS: Final = {"changes": "## What changes\n\n[[changes]]", "samples": "## Before and after\n\n[[samples]]"}

_API_VERSION_DRAFT: Final = """\
## What to do

1. Send your calls to `/{new}/predict` in place of `/{old}/predict`; or keep the address without a version and send the header \
`API-Version: {new}`. A key that is pinned to {old} can be pinned to {new} instead.
2. Read the answer as {new} writes it: the list below has every difference.
3. Watch the headers of your answers: once the end of {old} is announced, all answers of {old} carry `Sunset` and `Link`. \
Answers of {new} tell `API-Version: {new}`: when all of yours do, you have arrived.

Keys, limits, prices and problems stay as they are. You can use both API versions side by side while you migrate.

## What changes

[[changes]]

## Before and after

[[samples]]
"""
_MODEL_DRAFT: Final = """\
## What to do

Calls that name `{model}` alone follow the live version and need nothing. Calls that pin `{old}` name `{new}` instead, or \
`{model}` alone to follow the live version from now on.

Scores of two model versions differ. If your program compares them with a threshold of its own, measure that threshold anew \
with inputs of yours before you switch.

## What changes

[[changes]]

## Before and after

[[samples]]
"""


@dataclass(frozen=True, slots=True)
class ChangeRow:
    """One difference: where, what it was called and is called (empty where there is nothing), and a sentence as HTML."""

    part: str
    before: str
    after: str
    summary: SafeString


@dataclass(frozen=True, slots=True)
class GuidePage:
    """A guide as a page shows it; ``html`` has the changes and the samples in it."""

    kind: str
    old: str
    new: str
    title: str
    html: SafeString


def draft(*, kind: str, subject: str, successor: str) -> str:
    """A guide in Markdown to begin with. Raises ValueError or LookupError when there is no way from one to the other."""
    if kind == SubjectKind.MODEL_VERSION:
        versions = _model_versions(subject, successor)
        return _MODEL_DRAFT.format(model=versions[0].name, old=subject, new=successor)
    api_versions.changes(old=subject, new=successor)
    return _API_VERSION_DRAFT.format(old=subject, new=successor)


def page(*, kind: str, subject: str, successor: str, guide_markdown: str = "") -> GuidePage:
    """The public guide: staff's text, or the draft. Raises ValueError or LookupError as :func:`draft`.

    A text without ``[[changes]]`` or ``[[samples]]`` gets them at its end.
    """
    text = guide_markdown.strip() or draft(kind=kind, subject=subject, successor=successor)
    there = markdown.places(text, _PLACES)
    text = "\n\n".join([text, *(_SECTIONS[name] for name in _PLACES if name not in there)])
    names = {"old": subject, "new": successor}
    if kind == SubjectKind.MODEL_VERSION:
        versions = _model_versions(subject, successor)
        calls = guide_samples.of_model_versions(*versions, api_version=settings.DEFAULT_API_VERSION)
    else:
        calls = guide_samples.of_api_versions(subject, successor)
    samples = guide_samples.samples(*calls, base_url=settings.BASE_URL)
    rows = changes(kind=kind, subject=subject, successor=successor)
    blocks = {
        "changes": render_to_string("docs/_changes.html", names | {"parts": _by_part(rows)}),
        "samples": render_to_string("docs/_samples.html", names | {"samples": samples}),
    }
    return GuidePage(
        kind=kind,
        old=subject,
        new=successor,
        title=f"From {subject} to {successor}",
        html=markdown.render(text, blocks=blocks),
    )


def changes(*, kind: str, subject: str, successor: str) -> list[ChangeRow]:
    """Every difference. Raises as :func:`draft`."""
    if kind == SubjectKind.MODEL_VERSION:
        return list(_model_changes(*_model_versions(subject, successor)))
    address = ChangeRow(
        "In the request",
        f"POST /{subject}/predict",
        f"POST /{successor}/predict",
        markdown.inline(f"The API version stands in the address; the header `API-Version: {successor}` says the same."),
    )
    described = api_versions.changes(old=subject, new=successor)
    return [
        address,
        *(
            ChangeRow(_PARTS[part], change.before, change.after, markdown.inline(change.summary))
            for part in _PARTS
            # What a program must change stands before what it may use.
            for change in sorted(described, key=lambda change: not change.before)
            if change.part == part
        ),
    ]


def _by_part(rows: list[ChangeRow]) -> dict[str, list[ChangeRow]]:
    parts: dict[str, list[ChangeRow]] = {}
    for row in rows:
        parts.setdefault(row.part, []).append(row)
    return parts


# --- Model versions ---------------------------------------------------------------------------------------------------


def _model_versions(subject: str, successor: str) -> tuple[ModelRef, ModelRef]:
    """Both versions, whether or not they still answer. Raises LookupError for one that never was."""
    return _model_version(subject), _model_version(successor)


def _model_version(name: str) -> ModelRef:
    row = model_names.version(name)
    if row is None:
        raise LookupError(f"There is no model version {name}.")
    return model_versions.reference(row)


def _model_changes(old: ModelRef, new: ModelRef) -> Iterator[ChangeRow]:
    yield ChangeRow(
        "In the request",
        f'"model": "{old.name}@{old.version}"',
        f'"model": "{new.name}@{new.version}"',
        markdown.inline(f"Or `{new.name}` alone, which follows the live version."),
    )
    yield from _differing("In the request", "input", old.input_schema, new.input_schema, "what it takes.")
    if old.labels != new.labels:
        added = sorted(set(new.labels) - set(old.labels))
        gone = sorted(set(old.labels) - set(new.labels))
        said = [f"new: {', '.join(added)}"] * bool(added) + [f"no longer there: {', '.join(gone)}"] * bool(gone)
        yield ChangeRow(
            "In the answer",
            f"{len(old.labels)} labels",
            f"{len(new.labels)} labels",
            markdown.inline(f"The labels changed; {'; '.join(said) or 'only their order is another'}."),
        )
    yield from _differing("In the answer", "output", old.output_schema, new.output_schema, "what it answers with.")
    if old.accuracy is not None and new.accuracy is not None:
        yield ChangeRow(
            "How good it is",
            f"{old.accuracy:.1%}",
            f"{new.accuracy:.1%}",
            markdown.inline(new.accuracy_note or "Share of right answers on data that it never saw."),
        )
    if _contract(old) == _contract(new):
        yield ChangeRow("What stays", "", "", markdown.inline("It takes the same inputs and answers in the same form."))


def _differing(part: str, name: str, old: object, new: object, what: str) -> Iterator[ChangeRow]:
    if old != new:
        yield ChangeRow(part, _in_words(old), _in_words(new), markdown.inline(f"The {name} of the model: {what}"))


def _in_words(schema: object) -> str:
    items = schema.items() if isinstance(schema, dict) else ()
    return ", ".join(
        f"{name} {'×'.join(map(str, value)) if isinstance(value, list) else value}" for name, value in items
    )


def _contract(ref: ModelRef) -> tuple[object, ...]:
    return ref.labels, ref.input_schema, ref.output_schema
