"""What a schedule may name: versions that exist, that are not live, and successors that answer when they are needed."""

import pytest
from django.core.exceptions import ValidationError

from inference.deprecations import subjects
from inference.models import MLModel, ModelVersion, VersionState
from mlplatform.lib import clock
from tenants.models import DeprecationSchedule, SubjectKind
from tests.support.impacted import DAY, make_schedule, make_versions

OLD, LIVE = "sentiment@1.0.0", "sentiment@2.0.0"


def row(subject: str, successor: str) -> DeprecationSchedule:
    now = clock.now()
    return DeprecationSchedule(
        kind=subjects.kind_of(subject),
        subject=subject,
        successor=successor,
        announce_at=now,
        deprecate_at=now + DAY,
        sunset_at=now + 200 * DAY,
    )


def problems(subject: str, successor: str) -> dict[str, list[str]]:
    try:
        subjects.validate(row(subject, successor))
    except ValidationError as error:
        return error.message_dict
    return {}


def test_a_ready_version_may_end_in_favour_of_the_live_one(db: None) -> None:
    make_versions()
    assert problems(OLD, LIVE) == {}


def test_each_wrong_field_is_named(db: None) -> None:
    make_versions()
    MLModel.objects.create(name="digits")
    assert set(problems("sentiment@9.9.9", "sentiment@8.8.8")) == {"subject", "successor"}
    assert "is live" in problems(LIVE, OLD)["subject"][0]
    assert "another version of sentiment" in problems(OLD, OLD)["successor"][0]
    assert "another version of sentiment" in problems(OLD, "digits@1.0.0")["successor"][0]


@pytest.mark.parametrize("state", [VersionState.STAGED, VersionState.RETIRED])
def test_what_answers_no_calls_is_no_subject_and_no_successor(db: None, state: VersionState) -> None:
    make_versions()
    ModelVersion.objects.filter(version="1.0.0").update(state=state)
    assert "answers no calls" in problems(OLD, LIVE)["subject"][0]
    ModelVersion.objects.filter(version="1.0.0").update(state=VersionState.READY)
    ModelVersion.objects.filter(version="2.0.0").update(state=state)
    assert "choose a version that answers" in problems(OLD, LIVE)["successor"][0]


def test_a_successor_has_no_end_of_its_own_by_then(db: None) -> None:
    old, live = make_versions()
    middle = ModelVersion.objects.create(
        model=old.model, version="1.5.0", sha256="0" * 64, input_schema={}, output_schema={}, state=VersionState.READY
    )
    make_schedule(str(middle), str(live))
    assert "without an end of its own" in problems(OLD, str(middle))["successor"][0]
    assert problems(OLD, LIVE) == {}


def test_a_version_to_which_others_are_sent_stays_until_they_have_ended(db: None) -> None:
    make_schedule("v1", "v1.1")
    assert "v1 sends its callers to v1.1" in problems("v1.1", "v2")["deprecate_at"][0]
    later = row("v1.1", "v2")
    later.deprecate_at = clock.now() + 201 * DAY
    later.sunset_at = later.deprecate_at + 200 * DAY
    subjects.validate(later)


def test_choices_and_the_likeliest_successor(db: None) -> None:
    make_versions()
    assert subjects.choices(SubjectKind.API_VERSION) == [("v1", "v1"), ("v1.1", "v1.1"), ("v2", "v2")]
    assert subjects.choices(SubjectKind.MODEL_VERSION) == [(OLD, OLD), (LIVE, f"{LIVE} (live)")]
    assert subjects.successor_of("v1") == "v2"
    assert subjects.successor_of(OLD) == LIVE
    assert subjects.successor_of(LIVE) == ""
    assert subjects.successor_of("nothing@1.0.0") == ""
