"""Staff plan, change and call off the ends of versions; each wrong field says what is wrong, and a refusal changes nothing."""

import datetime as dt
from typing import Any

import pytest
from django.test import Client

from inference.admin.deprecations.schedule_form import READ_THE_DRAFT
from mlplatform.lib import clock
from tenants.deprecations import catalogue, schedules
from tenants.deprecations.rules import State
from tenants.models import ApiVersion, DeprecationSchedule
from tests.inference.admin.deprecations.schedule_fields import change_form, form, split, whole
from tests.support import staff
from tests.support.impacted import DAY, make_schedule, make_versions

VERSIONS, SCHEDULES = "/admin/tenants/apiversion/", "/admin/tenants/deprecationschedule/"


def errors(response: Any) -> dict[str, Any]:
    assert response.status_code == 200
    return dict(response.context["adminform"].form.errors)


# --- API versions ------------------------------------------------------------------------------------------------------


def test_the_list_shows_states_that_nothing_stores(admin: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    schedule = make_schedule()
    page = admin.get(VERSIONS).content.decode()
    assert "Deprecated" in page
    assert f"{SCHEDULES}{schedule.pk}/change/" in page
    assert f"{SCHEDULES}add/?subject=v1.1" in page
    assert f"{SCHEDULES}add/?subject=v2" not in page  # the default has no end
    assert "Sunset" not in page
    monkeypatch.setattr(clock, "now", lambda: schedule.sunset_at)
    assert "Sunset" in admin.get(VERSIONS).content.decode()


def test_a_version_is_added_for_a_file_that_has_no_row(admin: Client) -> None:
    assert admin.get(f"{VERSIONS}add/").status_code == 403  # every file has its row
    ApiVersion.objects.get(name="v1.1").delete()
    catalogue.forget()
    page = admin.get(f"{VERSIONS}add/")
    assert list(page.context["adminform"].form.fields["name"].choices) == [("v1.1", "v1.1")]
    fields = {"released_at_0": "2026-11-08", "released_at_1": "00:00:00", "summary": "Which version answered."}
    assert "name" in errors(admin.post(f"{VERSIONS}add/", {"name": "v9", **fields}))
    assert not ApiVersion.objects.filter(name="v9").exists()
    assert admin.post(f"{VERSIONS}add/", {"name": "v1.1", **fields}).status_code == 302
    assert list(catalogue.current().api_versions) == ["v1", "v1.1", "v2"]


def test_what_is_released_is_no_preview_again(admin: Client) -> None:
    row = ApiVersion.objects.get(name="v2")
    later = split("released_at", clock.now() + DAY)
    for moment in (later, {"released_at_0": "", "released_at_1": ""}):
        found = errors(admin.post(f"{VERSIONS}{row.pk}/change/", {**moment, "summary": "x"}))
        assert "cannot be a preview again" in found["released_at"][0]
    assert ApiVersion.objects.get(name="v2").released_at == row.released_at
    earlier = split("released_at", dt.datetime(2026, 11, 1, tzinfo=dt.UTC))
    assert admin.post(f"{VERSIONS}{row.pk}/change/", {**earlier, "summary": "New."}).status_code == 302
    assert catalogue.current().api_versions["v2"].summary == "New."


def test_versions_and_schedules_cannot_be_deleted(admin: Client) -> None:
    schedule, version = make_schedule(), ApiVersion.objects.get(name="v1")
    for page in (f"{VERSIONS}{version.pk}/delete/", f"{SCHEDULES}{schedule.pk}/delete/"):
        assert admin.post(page, {"post": "yes"}).status_code == 403
    assert ApiVersion.objects.count() == 3
    assert DeprecationSchedule.objects.count() == 1


# --- Schedules ---------------------------------------------------------------------------------------------------------


def test_the_form_comes_filled(admin: Client) -> None:
    make_versions()
    page = admin.get(f"{SCHEDULES}add/?subject=v1")
    given = page.context["adminform"].form
    start = given.get_initial_for_field(given.fields["announce_at"], "announce_at")
    assert start <= clock.now()
    initial = page.context["adminform"].form.initial
    assert (initial["subject"], initial["successor"]) == ("v1", "v2")
    assert initial["deprecate_at"] - initial["announce_at"] == 30 * DAY
    assert initial["sunset_at"] - initial["deprecate_at"] == 183 * DAY
    assert "[[changes]]" in initial["guide"]
    assert admin.get(f"{SCHEDULES}add/?subject=nonsense").status_code == 200
    assert admin.get(f"{SCHEDULES}add/?subject=no@1.0.0").status_code == 200


def offered(admin: Client, name: str) -> dict[str, list[str]]:
    """What the list of this field offers, by its groups."""
    field = admin.get(f"{SCHEDULES}add/").context["adminform"].form.fields[name]
    return {group: [value for value, _ in found] for group, found in field.widget.choices if group}


def test_only_what_can_be_chosen_is_offered(admin: Client) -> None:
    assert offered(admin, "subject") == {"API versions": ["v1", "v1.1"]}  # v2 is the default
    old, live = make_versions()
    make_versions("alone")[0].delete()
    found = offered(admin, "subject")
    assert found == {"API versions": ["v1", "v1.1"], "Model versions": [str(old)]}
    assert offered(admin, "successor")["API versions"] == ["v1.1", "v2"]
    make_schedule()
    make_schedule(str(old), str(live))
    assert offered(admin, "subject") == {"API versions": ["v1.1"]}
    assert offered(admin, "successor")["Model versions"] == ["alone@2.0.0", str(live)]


def test_a_schedule_is_made_and_known_at_once(admin: Client) -> None:
    assert admin.post(f"{SCHEDULES}add/", form()).status_code == 302
    row = DeprecationSchedule.objects.get()
    assert (row.kind, row.subject, row.successor) == ("api_version", "v1", "v2")
    assert row.created_by is not None
    assert row.created_by.email == "ada@staff.example"
    known = catalogue.current().api_versions["v1"]
    assert known.state(at=row.deprecate_at) is State.DEPRECATED
    assert admin.get(SCHEDULES).status_code == 200


def test_a_model_version_is_scheduled_as_well(admin: Client) -> None:
    make_versions()
    found = errors(admin.post(f"{SCHEDULES}add/", form(subject="sentiment@2.0.0", successor="sentiment@1.0.0")))
    assert "is live" in found["subject"][0]
    assert DeprecationSchedule.objects.count() == 0
    fields = form(subject="sentiment@1.0.0", successor="sentiment@2.0.0")
    assert admin.post(f"{SCHEDULES}add/", fields).status_code == 302
    assert DeprecationSchedule.objects.get().kind == "model_version"
    assert "sentiment@1.0.0" in catalogue.current().models


def test_every_wrong_field_has_its_own_error(admin: Client) -> None:
    now = clock.now()
    found = errors(
        admin.post(
            f"{SCHEDULES}add/",
            form(
                subject="v2",
                successor="v2",
                reason=" ",
                **split("announce_at", now + 9 * DAY),
                **split("deprecate_at", now + 2 * DAY),
                **split("sunset_at", now - 5 * DAY),
            ),
        )
    )
    assert set(found) >= {"subject", "reason", "deprecate_at", "sunset_at"}
    assert "default" in found["subject"][0]
    assert DeprecationSchedule.objects.count() == 0


@pytest.mark.parametrize(
    ("wrong", "field", "words"),
    [
        ({"successor": "v1"}, "successor", "newer API version"),
        ({"successor": "v9"}, "successor", "not one of the available choices"),
        ({"successor": ""}, "successor", "required"),
        ({"subject": "v9"}, "subject", "not one of the available choices"),
        ({"sunset_at_0": "", "sunset_at_1": ""}, "sunset_at", "required"),
        (split("sunset_at", clock.now() + 60 * DAY), "short_notice_reason", "six months"),
        ({"guide": ""}, "guide", READ_THE_DRAFT),
    ],
)
def test_one_wrong_field_is_named(admin: Client, wrong: dict[str, str], field: str, words: str) -> None:
    found = errors(admin.post(f"{SCHEDULES}add/", form(**wrong)))
    assert set(found) - {"__all__"} == {field}
    assert words in found[field][0]
    assert DeprecationSchedule.objects.count() == 0


def test_less_than_six_months_need_a_reason(admin: Client) -> None:
    short = split("sunset_at", clock.now() + 60 * DAY)
    assert admin.post(f"{SCHEDULES}add/", form(**short, short_notice_reason="It leaks.")).status_code == 302


def test_an_empty_guide_is_answered_with_a_draft(admin: Client) -> None:
    page = admin.post(f"{SCHEDULES}add/", form(guide=""))
    text = page.context["adminform"].form["guide"].value()
    assert "[[samples]]" in text
    assert text in page.context["adminform"].form["guide"].as_widget().replace("&#x27;", "'").replace("&quot;", '"')
    assert admin.post(f"{SCHEDULES}add/", form(guide=text)).status_code == 302
    assert DeprecationSchedule.objects.get().guide == text.strip()


def test_a_subject_has_one_end(admin: Client) -> None:
    schedule = make_schedule()
    assert "already" in errors(admin.post(f"{SCHEDULES}add/", form()))["subject"][0]
    assert DeprecationSchedule.objects.count() == 1
    schedules.cancel(schedule)
    assert admin.post(f"{SCHEDULES}add/", form()).status_code == 302


def test_what_has_come_to_pass_stays(admin: Client) -> None:
    schedule = make_schedule()
    page = f"{SCHEDULES}{schedule.pk}/change/"
    moved = split("deprecate_at", clock.now() + DAY)
    found = errors(admin.post(page, change_form(schedule, **moved)))
    assert "cannot be undone" in found["deprecate_at"][0]
    past = split("sunset_at", clock.now() - dt.timedelta(minutes=1))
    assert "every call" in errors(admin.post(page, change_form(schedule, **past)))["sunset_at"][0]
    assert DeprecationSchedule.objects.get().deprecate_at == schedule.deprecate_at
    assert DeprecationSchedule.objects.get().sunset_at == schedule.sunset_at


def test_a_schedule_is_changed_and_its_subject_is_not(admin: Client) -> None:
    schedule = make_schedule(announce_at=whole(clock.now()), deprecate_at=whole(clock.now() + DAY))
    later = whole(clock.now() + 300 * DAY)
    fields = change_form(schedule, subject="v1.1", reason="Because.", **split("sunset_at", later))
    assert admin.post(f"{SCHEDULES}{schedule.pk}/change/", fields).status_code == 302
    row = DeprecationSchedule.objects.get()
    assert (row.subject, row.reason, row.sunset_at) == ("v1", "Because.", later)
    known = catalogue.current().api_versions["v1"].schedule
    assert known is not None
    assert known.sunset_at == later


def test_calling_it_off_asks_first(admin: Client) -> None:
    schedule = make_schedule()
    page = f"{SCHEDULES}{schedule.pk}/cancel/"
    assert "write to them" in admin.get(page).content.decode()
    assert DeprecationSchedule.objects.get().canceled_at is None
    answer = admin.post(page, {"confirmed": "yes"}, follow=True)
    assert staff.said(answer) == ["The end of v1 is called off."]
    assert DeprecationSchedule.objects.get().canceled_at is not None
    assert catalogue.current().api_versions["v1"].schedule is None
    assert admin.get(page).status_code == 404
    assert admin.post(f"{SCHEDULES}{schedule.pk}/change/", change_form(schedule)).status_code == 403


def test_an_end_that_came_is_not_called_off(admin: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    schedule = make_schedule()
    monkeypatch.setattr(clock, "now", lambda: schedule.sunset_at)
    answer = admin.post(f"{SCHEDULES}{schedule.pk}/cancel/", {"confirmed": "yes"}, follow=True)
    assert "has ended" in staff.said(answer)[0]
    assert DeprecationSchedule.objects.get().canceled_at is None
