"""``manage.py model``: what each subcommand says, and that an error is one line that names its cause."""

import datetime as dt
import io
from pathlib import Path

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError

from inference.models import MLModel, ModelVersion, Rollout
from inference.registry import versions
from mlplatform.lib import clock, enqueue, redis
from tenants.models import DeprecationSchedule
from tests.conftest import Customer
from tests.support import packages
from tests.support.holding import report, reports_are_asked
from tests.support.models_folder import models_dir, stored

__all__ = ["models_dir", "reports_are_asked"]

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("models_dir")]


@pytest.fixture(autouse=True)
def worker(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """In place of a worker: each version is ready at once, unless ``error`` says why not."""
    answer = {"error": ""}

    def verify(*, version: ModelVersion) -> None:
        versions.mark_verified(version_id=version.pk, error=answer["error"])

    monkeypatch.setattr(enqueue, "send", lambda task, queue, kwargs: None)
    monkeypatch.setattr(versions, "request_verification", verify)
    return answer


@pytest.fixture
def package(tmp_path: Path) -> Path:
    return packages.folder(tmp_path / "package")


def run(*arguments: str | Path) -> str:
    out = io.StringIO()
    call_command("model", *[str(argument) for argument in arguments], stdout=out)
    return out.getvalue()


def next_version(package: Path, version: str = "1.1.0") -> Path:
    content = packages.files(packages.CARD.replace("1.0.0", version))
    return packages.folder(package.parent / version, content)


def test_push_promote_roll_back_and_the_rest(package: Path) -> None:
    assert "shapes@1.0.0 is live" in run("push", package, "--promote")
    said = run("push", next_version(package), "--wait")
    assert "shapes@1.1.0 is staged: " in said
    assert said.endswith("shapes@1.1.0 is ready\n")
    assert "answers 20 % of the tenants" in run("canary", "shapes@1.1.0", "--percent", "20")
    assert "answers no calls" in run("shadow", "shapes@1.1.0")
    assert Rollout.objects.filter(state="running").count() == 2
    run("stop", "shapes")
    assert not Rollout.objects.filter(state="running").exists()
    assert run("promote", "shapes@1.1.0") == "shapes@1.1.0 is live\n"
    assert run("rollback", "shapes") == "shapes@1.0.0 is live again\n"
    run("purge", "shapes")
    assert MLModel.objects.get().cache_epoch == 1
    assert run("retire", "shapes@1.1.0") == "shapes@1.1.0 is retired\n"
    assert run("list").splitlines() == [
        "shapes, pool gpu",
        "  1.0.0  live  tensor-classification",
        "  1.1.0  retired  tensor-classification",
    ]
    assert "licence: MIT" in run("show", "shapes@1.0.0")


@pytest.mark.usefixtures("reports_are_asked")
def test_promote_waits_until_a_worker_holds_the_version(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run("push", package, "--wait")
    version = ModelVersion.objects.get()
    report()
    with pytest.raises(CommandError, match=r"No worker holds shapes@1\.0\.0 in memory now; one was asked to load it"):
        run("promote", "shapes@1.0.0")
    assert ModelVersion.objects.get().state == "ready"
    redis.state().delete(f"holding:asked:{version.pk}")  # as if some seconds had gone by
    monkeypatch.setattr(enqueue, "send", lambda task, queue, kwargs: report(version))
    assert run("promote", "shapes@1.0.0", "--wait") == "shapes@1.0.0 is live\n"


def test_a_private_model(package: Path, acme: Customer) -> None:
    run("push", package, "--owner", "acme")
    assert MLModel.objects.get().owner == acme.tenant
    assert "acme/shapes, pool" in run("list")
    assert "owner: acme" in run("show", "acme/shapes@1.0.0")
    with pytest.raises(CommandError, match=r"no model version 'shapes@1\.0\.0'; tenants have acme/shapes\."):
        run("show", "shapes@1.0.0")
    with pytest.raises(CommandError, match=r"no model 'shapes'; tenants have acme/shapes\."):
        run("purge", "shapes")
    said = run("push", package)
    assert "shapes@1.0.0 is staged" in said
    assert "1 tenant has a model of this name, which goes on answering its own calls: acme/shapes." in said
    with pytest.raises(CommandError, match="no tenant 'nobody'"):
        run("push", next_version(package), "--owner", "nobody")


def test_a_version_that_no_worker_can_serve(package: Path, worker: dict[str, str]) -> None:
    worker["error"] = "LoadError: the weights do not fit"
    with pytest.raises(CommandError, match=r"shapes@1.0.0 cannot be served: LoadError: the weights do not fit"):
        run("push", package, "--promote")
    assert ModelVersion.objects.get().state == "staged"
    assert "staged  tensor-classification: LoadError" in run("list")


@pytest.mark.parametrize(
    ("sunset", "ends"),
    [
        ("+200d", lambda now: now + dt.timedelta(days=200)),
        ("2999-06-30", lambda now: dt.datetime(2999, 6, 30, 23, 59, 59, 999999, dt.UTC)),
        ("2999-06-30T12:00:00Z", lambda now: dt.datetime(2999, 6, 30, 12, tzinfo=dt.UTC)),
        ("2999-06-30T12:00:00+02:00", lambda now: dt.datetime(2999, 6, 30, 10, tzinfo=dt.UTC)),
    ],
)
def test_deprecate(package: Path, monkeypatch: pytest.MonkeyPatch, sunset: str, ends: object) -> None:
    run("push", package, "--promote")
    run("push", next_version(package), "--promote")
    now = clock.now()
    monkeypatch.setattr(clock, "now", lambda: now)
    run("deprecate", "shapes@1.0.0", "--successor", "shapes@1.1.0", "--sunset", sunset, "--reason", "It is old.")
    row = DeprecationSchedule.objects.get()
    assert callable(ends)
    assert (row.subject, row.successor, row.sunset_at, row.deprecate_at) == (
        "shapes@1.0.0",
        "shapes@1.1.0",
        ends(now),
        now,
    )
    assert "shapes@1.1.0" in row.guide
    with pytest.raises(CommandError, match="was promised until"):
        run("retire", "shapes@1.0.0")


def test_several_versions_in_one_command(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    circles = {
        version: packages.folder(
            package.parent / f"circles-{version}",
            packages.files(packages.CARD.replace('"shapes"', '"circles"').replace("1.0.0", version)),
        )
        for version in ("1.0.0", "1.1.0")
    }
    run("push", package, circles["1.0.0"], "--promote")
    run("push", next_version(package), circles["1.1.0"], "--wait")
    old, new = ["shapes@1.0.0", "circles@1.0.0"], ["shapes@1.1.0", "circles@1.1.0"]
    with pytest.raises(CommandError, match=r"no model version 'circles@9\.9\.9'"):
        run("promote", "shapes@1.1.0", "circles@9.9.9")
    assert run("promote", *new) == "circles@1.1.0 is live\nshapes@1.1.0 is live\n"
    short = ["--sunset", "+1h", "--reason", "It is old.", "--short-notice", "A test."]
    with pytest.raises(CommandError, match=r"No other version of shapes is live"):
        run("deprecate", "circles@1.0.0", "shapes@1.1.0", *short)
    assert not DeprecationSchedule.objects.exists()
    run("deprecate", *old, *short)
    rows = DeprecationSchedule.objects.order_by("subject")
    assert [(row.subject, row.successor) for row in rows] == [
        (name, name.replace("1.0", "1.1")) for name in sorted(old)
    ]
    later = clock.now() + dt.timedelta(hours=2)
    monkeypatch.setattr(clock, "now", lambda: later)
    with pytest.raises(CommandError, match=r"shapes@1\.1\.0 is live"):
        run("retire", *old, "shapes@1.1.0")
    assert not ModelVersion.objects.filter(state="retired").exists()
    assert run("retire", *old) == "circles@1.0.0 is retired\nshapes@1.0.0 is retired\n"


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["promote", "shapes@9.9.9"], "There is no model version 'shapes@9.9.9'"),
        (["rollback", "circles"], "There is no model 'circles'"),
        (["push", "{package}"], "shapes@1.0.0 is there already"),
        (["push", "{package}/nothing"], "package: There is no file or folder"),
        (["push", "{package}/model.toml"], "package: This is no zip"),
        (["retire", "shapes@1.0.0"], "is live"),
        (["deprecate", "shapes@1.0.0", "--successor", "x@1.0.0", "--sunset", "+1d", "--reason", "x"], "successor: "),
        (["deprecate", "shapes@1.0.0", "--successor", "x@1.0.0", "--sunset", "soon", "--reason", "x"], "--sunset: "),
        (["canary", "shapes@1.0.0", "--percent", "0"], "percent: "),
    ],
)
def test_errors_name_their_cause(package: Path, models_dir: Path, arguments: list[str], reason: str) -> None:
    run("push", package, "--promote")
    before = stored(models_dir)
    with pytest.raises(CommandError) as failed:
        run(*[argument.replace("{package}", str(package)) for argument in arguments])
    assert str(failed.value).startswith(reason) or reason in str(failed.value)
    assert ModelVersion.objects.get().state == "live"
    assert not DeprecationSchedule.objects.exists()
    assert stored(models_dir) == before
