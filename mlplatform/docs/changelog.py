"""What happened to API versions and model versions, and what will: made of their rows, nothing is written twice.

Only what was announced is told. What concerns one tenant, such as an extension or a rehearsed brownout, never is.
"""

import datetime as dt
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final
from urllib.parse import quote

from django.conf import settings
from django.db.models import F, Prefetch, Q
from django.utils.feedgenerator import Atom1Feed
from django.utils.safestring import SafeString

from inference.models import ModelVersion
from inference.registry.live import is_visible_to
from mlplatform.docs.dates import day, moment
from mlplatform.lib import clock, markdown
from tenants.deprecations import catalogue
from tenants.models import Brownout, DeprecationSchedule, SubjectKind

PATH: Final = "/docs/changelog"
FEED_PATH: Final = "/docs/changelog.atom"
_FEED_ENTRIES: Final = 100
_CONTROLS: Final = {code: None for code in range(32) if chr(code) not in "\t\n\r"} | {0xFFFE: None, 0xFFFF: None}
"""Characters that no XML document can hold."""

KINDS: Final = {
    "release": "Released",
    "announcement": "Announced",
    "deprecation": "Deprecated",
    "brownout": "Brownout",
    "sunset": "Ended",
    "canceled": "Called off",
}


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing that happened, or that will. ``key`` never changes; ``subject`` is ``v1`` or ``sentiment@1.0.0``; ``guide`` is a
    path or empty."""

    key: str
    kind: str
    at: dt.datetime
    title: str
    html: SafeString
    subject: str
    guide: str = ""

    @property
    def about(self) -> str:
        """What one can filter by: an API version, or a model whatever its version."""
        return self.subject.partition("@")[0]

    @property
    def label(self) -> str:
        return KINDS[self.kind]

    @property
    def anchor(self) -> str:
        return "".join(char if char.isalnum() or char in "-." else "-" for char in self.key)


@dataclass(frozen=True, slots=True)
class Changelog:
    """``past`` newest first, ``coming`` soonest first. ``api_versions`` and ``models`` are those that any entry is about."""

    past: list[Entry]
    coming: list[Entry]
    api_versions: list[str]
    models: list[str]


def about(log: Changelog, name: str) -> Changelog:
    """The entries of one API version or model."""
    past = [entry for entry in log.past if entry.about == name]
    return replace(log, past=past, coming=[entry for entry in log.coming if entry.about == name])


def current() -> Changelog:
    """Everything that the public may know now."""
    now = clock.now()
    past = [*_api_releases(now), *_model_releases(now)]
    coming: list[Entry] = []
    shared = Prefetch("brownouts", Brownout.objects.filter(tenant=None, ends_at__gt=F("starts_at")), to_attr="shared")
    rows = DeprecationSchedule.objects.filter(
        Q(canceled_at=None) | Q(canceled_at__gt=F("announce_at")), announce_at__lte=now
    ).prefetch_related(shared)
    for row in rows:
        if not is_visible_to(row.subject, tenant_id=None):
            continue
        for entry in (*_milestones(row, now), *_planned(row, now)):
            (past if entry.at <= now else coming).append(entry)
        coming.extend(_brownouts(row, now))
    names = {entry.about for entry in (*past, *coming)}
    api_versions = names.intersection(catalogue.current().api_versions)
    return Changelog(
        sorted(past, key=lambda entry: (entry.at, entry.key), reverse=True),
        sorted(coming, key=lambda entry: (entry.at, entry.key)),
        api_versions=sorted(api_versions),
        models=sorted(names - api_versions),
    )


def atom(name: str = "") -> str:
    """The past, of one API version or model where it is named, as an Atom feed (RFC 4287).

    Ids are made of keys, so they outlive a change of address.
    """
    feed = Atom1Feed(
        title="mlplatform: changelog",
        link=f"{settings.BASE_URL}{PATH}",
        feed_url=f"{settings.BASE_URL}{FEED_PATH}" + (f"?about={quote(name)}" if name else ""),
        description="Releases, deprecations and ends of API versions and model versions.",
        language="en",
        author_name="mlplatform",
        feed_guid=_urn(f"feed:{name}" if name else "feed"),
    )
    log = about(current(), name) if name else current()
    for entry in log.past[:_FEED_ENTRIES]:
        more = f'<p><a href="{entry.guide}">The migration guide</a></p>' if entry.guide else ""
        feed.add_item(
            title=entry.title,
            link=f"{settings.BASE_URL}{PATH}#{entry.anchor}",
            description=_absolute(entry.html + more).translate(_CONTROLS),
            unique_id=_urn(entry.key),
            pubdate=entry.at,
            updateddate=entry.at,
            categories=[entry.label],
        )
    text: str = feed.writeString("utf-8")
    return text


def _urn(key: str) -> str:
    return uuid.uuid5(uuid.NAMESPACE_URL, f"mlplatform:changelog:{key}").urn


def _absolute(html: str) -> str:
    """Links of this site, as readers elsewhere can follow them."""
    return html.replace('href="/', f'href="{settings.BASE_URL}/')


# --- Releases ---------------------------------------------------------------------------------------------------------


def _api_releases(now: dt.datetime) -> Iterator[Entry]:
    for known in catalogue.current().api_versions.values():
        if known.released_at is not None and known.released_at <= now:
            yield Entry(
                key=f"release-{known.name}",
                kind="release",
                at=known.released_at,
                title=f"API version {known.name} is released",
                html=markdown.render(known.summary),
                subject=known.name,
            )


def _model_releases(now: dt.datetime) -> Iterator[Entry]:
    for row in ModelVersion.objects.select_related("model__owner").filter(
        live_since__lte=now, model__owner__isnull=True
    ):
        if row.live_since is not None:
            accuracy = f" Measured accuracy: {row.accuracy:.1%}." if row.accuracy is not None else ""
            yield Entry(
                key=f"release-{row}",
                kind="release",
                at=row.live_since,
                title=f"{row} is live",
                html=markdown.render(f"Calls that name `{row.model.name}` without a version go to it.{accuracy}"),
                subject=str(row),
            )


# --- Ends -------------------------------------------------------------------------------------------------------------


def _milestones(row: DeprecationSchedule, now: dt.datetime) -> Iterator[Entry]:
    """Announcement, deprecation, sunset, as far as they were not called off before."""
    name, guide = _named(row), _guide(row)
    until = row.canceled_at or dt.datetime.max.replace(tzinfo=dt.UTC)

    def entry(kind: str, at: dt.datetime, title: str, text: str) -> Entry:
        return Entry(f"{kind}-{row.subject}-{row.pk}", kind, at, title, markdown.render(text), row.subject, guide)

    yield entry(
        "announcement",
        row.announce_at,
        f"{name} will end on {day(row.sunset_at)}",
        f"{row.reason}\n\nIt is deprecated from {day(row.deprecate_at)} and answers until {moment(row.sunset_at)}; "
        f"its answers say so in the headers `Sunset` and `Link`. Use `{row.successor}` instead.",
    )
    if row.deprecate_at < until:
        yield entry(
            "deprecation",
            row.deprecate_at,
            f"{name} is deprecated",
            f"Its answers carry the header `Deprecation` beside `Sunset`. It ends on {day(row.sunset_at)}; "
            f"use `{row.successor}`.",
        )
    if row.sunset_at < until:
        title = f"{name} {'has ended' if row.sunset_at <= now else 'ends'}"
        yield entry("sunset", row.sunset_at, title, f"Calls get `410 Gone`; use `{row.successor}`.")


def _planned(row: DeprecationSchedule, now: dt.datetime) -> Iterator[Entry]:
    """That something was planned or called off is news by itself, at the moment when it was."""
    if row.canceled_at is not None:
        if row.canceled_at <= now:
            yield Entry(
                f"canceled-{row.subject}-{row.pk}",
                "canceled",
                row.canceled_at,
                f"{_named(row)} stays: its end is called off",
                markdown.render("There is nothing that you have to do."),
                row.subject,
            )
        return
    for window in row.shared:  # type: ignore[attr-defined]  # made by the prefetch
        yield Entry(
            f"brownout-{row.subject}-{window.pk}",
            "brownout",
            min(max(window.created_at, row.announce_at), now),
            f"A brownout of {_named(row)} is planned for {day(window.starts_at)}",
            markdown.render(_brownout_text(row, window)),
            row.subject,
            _guide(row),
        )


def _brownouts(row: DeprecationSchedule, now: dt.datetime) -> Iterator[Entry]:
    if row.canceled_at is None:
        for window in row.shared:  # type: ignore[attr-defined]
            if window.ends_at > now:
                yield Entry(
                    f"window-{row.subject}-{window.pk}",
                    "brownout",
                    window.starts_at,
                    f"Brownout of {_named(row)}",
                    markdown.render(_brownout_text(row, window)),
                    row.subject,
                    _guide(row),
                )


def _brownout_text(row: DeprecationSchedule, window: Brownout) -> str:
    share = "All calls" if window.share == 100 else f"{window.share} % of the calls"
    same_day = window.starts_at.date() == window.ends_at.date()
    end = f"{window.ends_at:%H:%M} UTC" if same_day else moment(window.ends_at)
    return (
        f"{share} get `503` from {moment(window.starts_at)} until {end}, and are not charged. It shows what will be when "
        f"`{row.subject}` has ended."
    )


def _guide(row: DeprecationSchedule) -> str:
    """Its guide's path; a model version whose end was called off has none any more."""
    if row.canceled_at is not None and row.kind == SubjectKind.MODEL_VERSION:
        return ""
    return catalogue.guide_path(row.kind, row.subject, row.successor)


def _named(row: DeprecationSchedule) -> str:
    return f"API version {row.subject}" if row.kind == SubjectKind.API_VERSION else row.subject
