"""The form of a deprecation schedule: real choices, sensible dates, a drafted guide, and one error for each wrong field."""

import copy
import datetime as dt
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from django import forms
from django.core.exceptions import ValidationError

from inference.deprecations import subjects
from inference.deprecations.guides import pages as guide_pages
from mlplatform.lib import clock
from mlplatform.lib.errors import PlatformError
from tenants.admin.kit import ModelForm
from tenants.deprecations import catalogue, rules, schedules
from tenants.models import DeprecationSchedule, SubjectKind

if TYPE_CHECKING:
    from django.forms import Select as UnfoldAdminSelectWidget
    from django.forms import Textarea as UnfoldAdminTextareaWidget
else:
    from unfold.widgets import UnfoldAdminSelectWidget, UnfoldAdminTextareaWidget

WARNING_TIME: Final = dt.timedelta(days=30)
DATES: Final = ("announce_at", "deprecate_at", "sunset_at")
READ_THE_DRAFT: Final = "This draft was written for you from what changed. Read it, then save again."


def default_dates(now: dt.datetime) -> dict[str, dt.datetime]:
    """Announced now, deprecated a month later, ended six months and a day after that."""
    announce = now.replace(second=0, microsecond=0)
    deprecate = announce + WARNING_TIME
    return {
        "announce_at": announce,
        "deprecate_at": deprecate,
        "sunset_at": deprecate + rules.MAINTAINED + dt.timedelta(days=1),
    }


def draft(subject: str, successor: str) -> str:
    """A guide from one to the other; empty when nothing can be drafted."""
    if not subject or not successor:
        return ""
    try:
        return guide_pages.draft(kind=subjects.kind_of(subject), subject=subject, successor=successor)
    except (PlatformError, LookupError, ValueError):
        return ""


def grouped_choices() -> list[tuple[str, Any]]:
    """Every subject, under what kind it is of."""
    groups: list[tuple[str, Any]] = [("", "Choose…")]
    return groups + [(f"{kind.label}s", found) for kind in SubjectKind if (found := subjects.choices(kind))]


def offered() -> tuple[list[tuple[str, Any]], list[tuple[str, Any]]]:
    """What can be chosen, in the groups of all choices: subjects whose end can be planned, and versions without an end."""
    plannable, ends = subjects.plannable(), catalogue.current()
    ending = {*ends.models, *(name for name, one in ends.api_versions.items() if one.schedule is not None)}
    every = grouped_choices()

    def kept(wanted: Callable[[str], bool]) -> list[tuple[str, Any]]:
        groups = [
            (title, [(value, label) for value, label in found if wanted(value)])
            for title, found in every
            if isinstance(found, list)
        ]
        return [every[0], *((title, found) for title, found in groups if found)]

    oldest = next(iter(ends.api_versions), "")
    return kept(plannable.__contains__), kept(lambda value: value not in ending and value != oldest)


class ScheduleForm(ModelForm[DeprecationSchedule]):
    """The kind follows from the subject, because ``v1`` and ``sentiment@1.0.0`` cannot be mistaken for each other."""

    subject = forms.ChoiceField(
        label="What ends",
        choices=grouped_choices,
        widget=UnfoldAdminSelectWidget,
        help_text="Not the live version of a model, and not the API version of calls that select none.",
    )
    successor = forms.ChoiceField(
        choices=grouped_choices,
        widget=UnfoldAdminSelectWidget,
        help_text="What to use instead: of the same kind, and of the same model.",
    )

    class Meta:
        model = DeprecationSchedule
        fields = ["subject", "successor", *DATES, "short_notice_reason", "reason", "guide", "audience"]
        widgets = {
            "reason": UnfoldAdminTextareaWidget(attrs={"rows": 3}),
            "short_notice_reason": UnfoldAdminTextareaWidget(attrs={"rows": 2}),
            "guide": UnfoldAdminTextareaWidget(attrs={"rows": 18, "class": "p-guide"}),
        }

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if "guide" in self.fields:
            # An empty guide is answered with a draft instead of a complaint.
            self.fields["guide"].required = False
        if self.instance.pk and "successor" in self.fields:
            self._keep_choice(self.instance.successor)
        elif {"subject", "successor"} <= self.fields.keys():
            self._offer()

    def _offer(self) -> None:
        """The lists offer what can be chosen. What is sent all the same is judged by name, so that its error says why."""
        for name, choices in zip(("subject", "successor"), offered(), strict=True):
            field = self.fields[name]
            assert isinstance(field, forms.ChoiceField)  # noqa: S101 - declared above
            field.widget.choices = choices

    def _keep_choice(self, value: str) -> None:
        field = self.fields["successor"]
        assert isinstance(field, forms.ChoiceField)  # noqa: S101 - declared above
        found = subjects.choices(self.instance.kind)
        field.choices = found if value in dict(found) else [(value, f"{value} (answers no more)"), *found]

    def clean(self) -> dict[str, Any] | None:
        super().clean()
        for name in {*DATES} & self.cleaned_data.keys() - {*self.changed_data}:
            # The inputs hold whole seconds; an untouched field must not move by the rest.
            self.cleaned_data[name] = getattr(self.instance, name) or self.cleaned_data[name]
        row = self._candidate()
        self.instance.kind = row.kind
        checks: tuple[Callable[[DeprecationSchedule], None], ...] = (
            _not_taken, schedules.validate, schedules.only_forward, subjects.validate, self._ends_later,
        )  # fmt: skip
        for check in checks:
            try:
                check(row)
            except ValidationError as error:
                self._add_missing(error)
        if "guide" in self.errors and not row.guide.strip():
            self._offer_draft(row)
        return self.cleaned_data

    def _candidate(self) -> DeprecationSchedule:
        """The row as it would be; a date that is missing, which has its own error, is filled so that the rest is checked."""
        row = copy.copy(self.instance)
        for name, value in self.cleaned_data.items():
            setattr(row, name, value)
        if row._state.adding:
            row.kind = subjects.kind_of(row.subject)
        for name, usual in default_dates(clock.now()).items():
            if getattr(row, name) is None:
                setattr(row, name, usual)
        return row

    def _add_missing(self, error: ValidationError) -> None:
        """Add each error to its field, unless that field has one: the first says what to do."""
        for name, texts in error.message_dict.items():
            field = name if name in self.fields else None
            if field is None or field not in self.errors:
                self.add_error(field, texts)

    def _offer_draft(self, row: DeprecationSchedule) -> None:
        if {"subject", "successor"} & self.errors.keys():
            return
        text = draft(row.subject, row.successor)
        if text:
            self.errors["guide"] = self.error_class([READ_THE_DRAFT])
            self.data = {**dict(self.data.items()), self.add_prefix("guide"): text}

    def _ends_later(self, row: DeprecationSchedule) -> None:
        before = None if row._state.adding else DeprecationSchedule.objects.get(pk=row.pk).sunset_at
        if row.sunset_at != before and row.sunset_at <= clock.now():
            raise ValidationError({"sunset_at": "A sunset in the past would refuse every call at once."})


def _not_taken(row: DeprecationSchedule) -> None:
    same = DeprecationSchedule.objects.filter(kind=row.kind, subject=row.subject, canceled_at__isnull=True)
    if row._state.adding and same.exists():
        raise ValidationError({"subject": f"{row.subject} has a schedule already: change that one, or call it off."})
