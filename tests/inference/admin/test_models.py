import datetime as dt
import json
from pathlib import Path

import pytest
from django.conf import settings
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from kombu.exceptions import OperationalError

from billing.models import UsageRollup
from inference.models import MLModel, ModelVersion, VersionState
from inference.registry import artefacts, versions
from mlplatform.lib import clock, enqueue
from tests.conftest import Customer
from tests.support import staff
from tests.support.holding import report, reports_are_asked
from tests.support.measured import FLOAT32, INT8, measured

__all__ = ["reports_are_asked"]

MODELS, VERSIONS = "/admin/inference/mlmodel/", "/admin/inference/modelversion/"


@pytest.fixture
def admin(db: None) -> Client:
    return staff.signed_in(staff.superuser())


@pytest.fixture
def artefact(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder below the models folder with one file."""
    monkeypatch.setattr(settings, "MODELS_DIR", tmp_path)
    folder = tmp_path / "digits" / "1.0.0"
    folder.mkdir(parents=True)
    (folder / "model.json").write_text("{}")
    return folder


def make_version(version: str = "1.0.0", state: str = VersionState.READY, model: str = "digits") -> ModelVersion:
    owner, _ = MLModel.objects.get_or_create(name=model)
    return ModelVersion.objects.create(
        model=owner,
        version=version,
        runtime="tensor-classification",
        artefact_path=f"{model}/{version}",
        sha256="0" * 64,
        input_schema={"kind": "tensor", "dtype": "float32", "shape": [8, 8]},
        output_schema={"kind": "classification"},
        labels=["0", "1"],
        state=state,
        accuracy=0.972,
        accuracy_note="360 held-out digits",
    )


def form(model: MLModel, **more: str) -> dict[str, str]:
    fields = {
        "model": str(model.pk),
        "version": "1.0.0",
        "runtime": "tensor-classification",
        "artefact_path": "digits/1.0.0",
        "input_schema": json.dumps({"kind": "tensor", "dtype": "float32", "shape": [8, 8]}),
        "output_schema": json.dumps({"kind": "classification"}),
        "labels": '["0", "1"]',
        "max_batch_size": "16",
        "device": "auto",
        "max_batch_tokens": "0",
        "max_queue_delay_ms": "0",
        "precision": "float32",
        "acceleration": "none",
        "accuracy": "",
        "accuracy_note": "",
    }
    return fields | more


def sent_tasks(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the tasks that are sent from now on, in place of sending them."""
    sent: list[str] = []
    monkeypatch.setattr("mlplatform.lib.enqueue.send", lambda task, queue, kwargs: sent.append(task))
    return sent


@pytest.mark.django_db(transaction=True)
def test_a_staged_version_gets_the_digest_of_its_files_and_is_verified(
    artefact: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent = sent_tasks(monkeypatch)
    admin = staff.signed_in(staff.superuser())
    model = MLModel.objects.create(name="digits")
    answer = admin.post(f"{VERSIONS}add/", form(model))
    assert answer.status_code == 302
    version = ModelVersion.objects.get()
    assert version.sha256 == artefacts.digest(artefact)
    assert (version.state, version.max_batch_size) == (VersionState.STAGED, 16)
    assert sent == ["inference.verify_version"]


@pytest.mark.django_db(transaction=True)
def test_without_a_broker_a_version_is_staged_and_is_not_said_to_be_verified(
    artefact: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(task: str, queue: str, kwargs: dict[str, object]) -> None:
        raise OperationalError("Connection refused")

    admin = staff.signed_in(staff.superuser())
    monkeypatch.setattr("mlplatform.lib.enqueue.send", refuse)
    staged = admin.post(f"{VERSIONS}add/", form(MLModel.objects.create(name="digits")), follow=True)
    assert "the broker does not answer" in staff.said(staged)[-1]
    version = ModelVersion.objects.get()
    asked = admin.post(f"{VERSIONS}{version.pk}/verify/", {"confirmed": "yes"}, follow=True)
    assert staff.said(asked) == ["The broker does not answer, so no worker was asked; please try again."]


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"artefact_path": "../outside"}, "below the models folder"),
        ({"artefact_path": "digits/9.9.9"}, "9.9.9"),
        ({"version": "one"}, "semantic version"),
        ({"labels": '{"a": 1}'}, "a list of texts"),
        ({"input_schema": '{"kind": "smell"}'}, "text"),
        ({"output_schema": '{"kind": []}'}, "classification or embedding"),
    ],
)
def test_a_wrong_version_is_refused_by_name(admin: Client, artefact: Path, fields: dict[str, str], reason: str) -> None:
    model = MLModel.objects.create(name="digits")
    answer = admin.post(f"{VERSIONS}add/", form(model, **fields))
    assert answer.status_code == 200
    assert answer.context["errors"]
    assert reason in str(answer.context["errors"])
    assert not ModelVersion.objects.exists()


def test_a_pickle_is_never_staged(admin: Client, artefact: Path) -> None:
    (artefact / "weights.bin").write_bytes(b"\x80\x04")
    answer = admin.post(f"{VERSIONS}add/", form(MLModel.objects.create(name="digits")))
    assert "weights.bin" in str(answer.context["errors"])
    assert not ModelVersion.objects.exists()


def test_artefact_and_contract_never_change(admin: Client) -> None:
    version = make_version()
    other = form(
        version.model, artefact_path="other/1.0.0", labels='["x"]', version="9.0.0", sha256="1" * 64, device="cpu",
        precision="int8", acceleration="compile", **staff.no_rows("measurements"),
    )  # fmt: skip
    assert admin.post(f"{VERSIONS}{version.pk}/change/", other).status_code == 302
    after = ModelVersion.objects.get()
    assert after.device == "cpu"
    assert (after.precision, after.acceleration) == ("float32", "none"), "they are part of what was measured"
    assert (after.artefact_path, after.labels, after.version, after.sha256) == (
        "digits/1.0.0",
        ["0", "1"],
        "1.0.0",
        "0" * 64,
    )


def test_promotion_asks_first_and_changes_who_answers(admin: Client) -> None:
    old, new = make_version("1.0.0", VersionState.LIVE), make_version("1.1.0")
    assert versions.resolve("digits").version == "1.0.0"
    page = f"{VERSIONS}{new.pk}/promote/"
    assert "Now 1.0.0 answers" in admin.get(page).content.decode()
    admin.post(page)
    assert ModelVersion.objects.get(pk=new.pk).state == VersionState.READY
    answer = admin.post(page, {"confirmed": "yes"}, follow=True)
    assert staff.said(answer) == ["digits@1.1.0 is live."]
    versions.forget()
    assert versions.resolve("digits").version == "1.1.0"
    assert ModelVersion.objects.get(pk=old.pk).state == VersionState.READY


@pytest.mark.usefixtures("reports_are_asked")
def test_what_no_worker_holds_is_not_promoted_and_the_page_says_why(
    admin: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    monkeypatch.setattr(enqueue, "send", lambda task, queue, kwargs: asked.append(kwargs["version_id"]))
    version = make_version("1.1.0")
    report()
    answer = admin.post(f"{VERSIONS}{version.pk}/promote/", {"confirmed": "yes"}, follow=True)
    (said,) = staff.said(answer)
    assert said.startswith("No worker holds digits@1.1.0 in memory now; one was asked to load it.")
    assert ModelVersion.objects.get().state == VersionState.READY
    assert asked == [version.pk]


@pytest.mark.parametrize(
    ("state", "action", "reason"),
    [
        (VersionState.STAGED, "promote", "only a ready version can go live"),
        (VersionState.LIVE, "retire", "promote another version first"),
    ],
)
def test_what_the_state_forbids_is_said_and_changes_nothing(
    admin: Client, state: str, action: str, reason: str
) -> None:
    version = make_version(state=state)
    answer = admin.post(f"{VERSIONS}{version.pk}/{action}/", {"confirmed": "yes"}, follow=True)
    assert reason in staff.said(answer)[0]
    assert ModelVersion.objects.get().state == state


def test_a_ready_version_is_retired(admin: Client) -> None:
    version = make_version()
    admin.post(f"{VERSIONS}{version.pk}/retire/", {"confirmed": "yes"})
    assert ModelVersion.objects.get().state == VersionState.RETIRED


def test_the_page_offers_what_the_state_allows(admin: Client) -> None:
    offered = {}
    for number, state in enumerate(VersionState.values):
        page = admin.get(f"{VERSIONS}{make_version(f'1.{number}.0', state).pk}/change/").content.decode()
        offered[state] = {name for name in ("verify", "promote", "retire") if f"/{name}/" in page}
    assert offered == {
        "staged": {"verify", "retire"},
        "ready": {"verify", "promote", "retire"},
        "live": {"verify"},
        "retired": set(),
    }


def test_purging_the_cache_asks_first(admin: Client) -> None:
    model = make_version().model
    page = f"{MODELS}{model.pk}/purge_cache/"
    assert "Forget every cached answer" in admin.get(page).content.decode()
    assert MLModel.objects.get().cache_epoch == 0
    admin.post(page, {"confirmed": "yes"})
    assert MLModel.objects.get().cache_epoch == 1


def test_a_models_name_never_changes(admin: Client) -> None:
    model = make_version().model
    form = {
        "name": "other",
        "title": "Digits",
        "cache_ttl_s": "60",
        "pool": "gpu",
        **staff.no_rows("versions"),
    }
    assert admin.post(f"{MODELS}{model.pk}/change/", form).status_code == 302
    after = MLModel.objects.get()
    assert (after.name, after.title, after.cache_ttl_s) == ("digits", "Digits", 60)


def test_the_list_shows_the_live_version_its_accuracy_and_the_calls(admin: Client, acme: Customer) -> None:
    make_version("1.0.0", VersionState.LIVE)
    for back, calls in ((0, 1000), (29, 234), (31, 5000)):
        UsageRollup.objects.create(
            day=clock.now().date() - dt.timedelta(days=back),
            tenant=acme.tenant,
            key_uid=acme.key.uid,
            model="digits",
            calls=calls,
            model_calls=calls,
            inputs=calls,
            cached_inputs=calls // 2,
            saved_units=7 * calls,
        )
    page = admin.get(MODELS).content.decode()
    for part in ("1.0.0", "97.2 %", "360 held-out digits", "1,234", "50.0 % hits"):
        assert part in page
    page = admin.get(f"{MODELS}{MLModel.objects.get().pk}/change/").content.decode()
    assert "<strong>50.0 %</strong> of 1,234 inputs came from a cache, which saved 8,638 units" in page


@pytest.mark.parametrize("page", [MODELS, VERSIONS])
def test_lists_cost_the_same_queries_with_one_row_and_with_ten(admin: Client, page: str) -> None:
    make_version()
    admin.get(page)  # what a process keeps in memory is read
    with CaptureQueriesContext(connection) as one:
        admin.get(page)
    for number in range(9):
        make_version(model=f"model-{number}")
    with CaptureQueriesContext(connection) as ten:
        answer = admin.get(page)
    assert b"model-8" in answer.content
    assert len(ten) == len(one)


def test_a_versions_page_shows_what_was_measured_of_it(admin: Client) -> None:
    version = make_version()
    measured(version)
    measured(version, INT8, threads=4)
    measured(make_version("2.0.0"), INT8, device="Elsewhere")
    page = admin.get(f"{VERSIONS}{version.pk}/change/").content.decode()
    for part in ("84.20 %", "84.05 %", "3,222 inputs of held-out texts", "42.5", "28.12", "Some Processor, 4 threads"):
        assert part in page
    assert "Some Processor, 1 thread<" in page
    assert page.count("serves so") == 1
    assert "Elsewhere" not in page
    assert 'name="measurements-0-accuracy"' not in page, "it is read, not written"


def test_a_measurement_cannot_be_changed_in_the_admin(admin: Client) -> None:
    version = make_version()
    row = measured(version)
    forged = {
        **form(version.model, device="cpu"),
        **staff.no_rows("measurements"),
        "measurements-TOTAL_FORMS": "1",
        "measurements-INITIAL_FORMS": "1",
        "measurements-0-id": str(row.pk),
        "measurements-0-version": str(version.pk),
        "measurements-0-accuracy": "1.0",
        "measurements-0-DELETE": "on",
    }
    assert admin.post(f"{VERSIONS}{version.pk}/change/", forged).status_code == 302
    assert ModelVersion.objects.get().device == "cpu"
    (after,) = version.measurements.all()
    assert (after.pk, after.accuracy) == (row.pk, FLOAT32.accuracy)


@pytest.mark.parametrize("role", ["support", "models", "billing"])
def test_what_was_measured_is_seen_with_the_version(db: None, role: str) -> None:
    version = make_version()
    measured(version)
    page = staff.signed_in(staff.with_role(role)).get(f"{VERSIONS}{version.pk}/change/")
    assert b"Some Processor, 1 thread" in page.content


def test_a_versions_page_costs_the_same_queries_however_much_was_measured(admin: Client) -> None:
    version = make_version()
    page = f"{VERSIONS}{version.pk}/change/"
    measured(version)
    admin.get(page)
    with CaptureQueriesContext(connection) as one:
        admin.get(page)
    for threads in range(2, 10):
        measured(version, threads=threads)
    with CaptureQueriesContext(connection) as nine:
        answer = admin.get(page)
    assert b"Some Processor, 9 threads" in answer.content
    assert len(nine) == len(one)


def test_a_versions_page_tells_how_many_tokens_it_reads(admin: Client) -> None:
    row = make_version()
    page = f"{VERSIONS}{row.pk}/change/"
    assert "It reads no texts" in admin.get(page).content.decode()
    ModelVersion.objects.update(input_schema={"kind": "text", "max_chars": 1000})
    assert "Told by the worker that loads it" in admin.get(page).content.decode()
    versions.note_max_tokens(version_id=row.pk, max_tokens=1_024)
    assert "1,024 at most" in admin.get(page).content.decode()
