"""The words of a mail: what ends, what to do, and messages that staff write."""

from typing import Any

import pytest
from django.core import mail
from pytest_django import Settings

from inference.deprecations.notices import letters
from inference.deprecations.notices import sending as notices
from inference.deprecations.samples import store as samples
from inference.models import CallSample, Notice
from mlplatform.lib.errors import PlatformError
from tenants.deprecations import catalogue, schedules
from tenants.models import DeprecationSchedule, Event, User
from tests.conftest import Customer
from tests.inference.deprecations.notices.telling import (
    DAY,
    HOUR,
    MINUTE,
    NOW,
    answer,
    caller_of,
    deliver,
    event_types,
    told,
    used,
    v1_ends,
)
from tests.support.tiny_model import make_version
from tests.support.walked_clock import Walk, published_at_once, walk

__all__ = ["published_at_once", "walk"]

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("published_at_once", "tasks")]


SUNSET = NOW + 230 * DAY


def sampled(customer: Customer, row: DeprecationSchedule, text: str) -> None:
    samples.offer(
        schedule=catalogue.frozen(row),
        caller=caller_of(customer),
        api_version="v1",
        model="tiny",
        body={"model": "tiny", "input": text},
        answer=answer(),
    )
    samples.flush()


def test_the_mail_says_what_to_do(acme: Customer, walk: Walk, tasks: list[dict[str, Any]], settings: Settings) -> None:
    settings.BASE_URL = "https://ml.example"
    walk(NOW)
    make_version()
    row = v1_ends()
    start = NOW + 100 * DAY
    schedules.plan_brownout(schedule=row, starts_at=start, ends_at=start + 10 * MINUTE, share=50, by=None)
    used(acme, calls=1234)
    sampled(acme, row, "Ms. Miller is furious")
    notices.tell()
    deliver(tasks)
    (came,) = mail.outbox
    assert isinstance(came, mail.EmailMultiAlternatives)
    ((html, kind),) = came.alternatives
    assert kind == "text/html"
    for form in (str(came.body), str(html)):
        for words in (
            "Hello Acme", "22 August 2027, 09:00", "v2 tells every label", "1,234 times", "Production",
            "https://ml.example/docs/migrate/v1-v2", "https://ml.example/v1/predict", "https://ml.example/v2/predict",
            "$MLPLATFORM_API_KEY", "410 Gone", "14 April 2027, 09:00", f"/v2/deprecations/{row.pk}/rehearsal",
            "What a wonderful morning!", "opt in",
        ):  # fmt: skip
            assert words in form, words
        assert "Miller" not in form
        assert acme.secret not in form
    assert "\n\n\n" not in str(came.body)
    assert came.extra_headers["Message-ID"] == f"<notice-{Notice.objects.get().pk}@localhost>"


def test_who_does_not_use_it_has_nothing_to_do(acme: Customer, walk: Walk, tasks: list[dict[str, Any]]) -> None:
    walk(NOW)
    v1_ends()
    notices.tell()
    deliver(tasks)
    body = str(mail.outbox[0].body)
    assert "nothing that you must do" in body
    assert "curl" not in body
    assert "rehearsal" not in body


def test_own_words_go_into_the_mail_but_not_into_the_row(
    acme: Customer, walk: Walk, tasks: list[dict[str, Any]]
) -> None:
    walk(NOW)
    make_version()
    row = v1_ends()
    samples.opt_in(tenant=acme.tenant)
    used(acme)
    sampled(acme, row, "<b>Ms. Miller</b> is furious")
    notices.tell()
    deliver(tasks)
    (came,) = mail.outbox
    assert isinstance(came, mail.EmailMultiAlternatives)
    assert "<b>Ms. Miller</b> is furious" in str(came.body)
    assert "&lt;b&gt;Ms. Miller&lt;/b&gt;" in str(came.alternatives[0][0])
    assert "<b>" not in str(came.alternatives[0][0])
    notice = Notice.objects.get()
    assert "Miller" not in notice.text + notice.html
    assert CallSample.objects.get().whole


def test_a_late_mail_counts_the_days_anew(acme: Customer, walk: Walk, tasks: list[dict[str, Any]]) -> None:
    walk(SUNSET - 7 * DAY)
    v1_ends()
    used(acme)
    notices.tell()
    walk(SUNSET - 4 * DAY)
    deliver(tasks)
    assert "API version v1 ends in 4 days, on 22 August 2027" in [sent.subject for sent in mail.outbox]


def test_time_that_is_left_is_said_to_the_nearest() -> None:
    said = [letters.left(time) for time in (90 * DAY - MINUTE, 36 * HOUR, DAY - MINUTE, 5 * HOUR, HOUR, MINUTE)]
    assert said == ["in 90 days", "in 2 days", "in 1 day", "in 5 hours", "in 1 hour", "in 1 hour"]


# --- Messages by staff ---------------------------------------------------------------------------------------------------


def test_staff_write_to_just_these_tenants(
    acme: Customer, globex: Customer, walk: Walk, tasks: list[dict[str, Any]]
) -> None:
    walk(NOW)
    row = v1_ends()
    by = User.objects.create_user("staff@platform.example", full_name="Sam Staff", is_staff=True)
    given = {"schedule": row, "tenant_ids": [acme.tenant.pk, 999_999], "by": by}
    assert notices.message(subject="Do you\nneed help?", text="We saw\n\nyour <calls>.", **given) == 1  # type: ignore[arg-type]
    deliver(tasks)
    (came,) = mail.outbox
    assert isinstance(came, mail.EmailMultiAlternatives)
    assert (came.subject, came.to) == ("Do you need help?", [acme.owner.email])
    assert "your <calls>." in str(came.body)
    assert "your &lt;calls&gt;." in str(came.alternatives[0][0])
    assert "Sam Staff" in str(came.body)
    assert event_types(acme) == ["api_version.message_sent"]
    assert told(globex) == event_types(globex) == []
    assert notices.message(subject="Do you need help?", text="Again.", **given) == 1  # type: ignore[arg-type]
    assert {tenant: len(rows) for tenant, rows in notices.told(schedule_id=row.pk).items()} == {acme.tenant.pk: 2}


@pytest.mark.parametrize(
    ("subject", "text", "field"),
    [("  ", "Hello", "subject"), ("x" * 201, "Hello", "subject"), ("Hello", " \n", "text")],
)
def test_an_empty_message_goes_nowhere(
    acme: Customer, walk: Walk, tasks: list[dict[str, Any]], subject: str, text: str, field: str
) -> None:
    walk(NOW)
    row = v1_ends()
    with pytest.raises(PlatformError) as refused:
        notices.message(schedule=row, tenant_ids=[acme.tenant.pk], subject=subject, text=text, by=None)
    assert refused.value.field == field
    assert (Notice.objects.count(), Event.objects.count(), tasks) == (0, 0, [])
