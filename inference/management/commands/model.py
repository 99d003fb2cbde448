"""``manage.py model …``: a model's whole life from the command line; each subcommand calls one service."""

import datetime as dt
import re
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from django.core.exceptions import ValidationError
from django.core.management.base import CommandError, CommandParser
from django.db import transaction
from django.utils.dateparse import parse_date, parse_datetime
from kombu.exceptions import OperationalError

from inference.deprecations import announce, subjects
from inference.models import MLModel, ModelVersion, RolloutKind, VersionState
from inference.registry import names
from inference.registry import versions as model_versions
from inference.registry.packages import push
from inference.registry.packages.problems import named
from inference.registry.rollouts import holding, trials
from mlplatform.lib import clock
from mlplatform.lib.errors import ErrorKind, PlatformError
from tenants.commands import InstallationCommand
from tenants.models import Tenant

_WAIT_S: Final = 600.0
_WAIT_HELD_S: Final = 60.0
_LOOK_S: Final = 0.25
_AHEAD: Final = re.compile(r"\+(\d{1,5})([smhd])")
_PERIODS: Final = {
    "s": dt.timedelta(seconds=1),
    "m": dt.timedelta(minutes=1),
    "h": dt.timedelta(hours=1),
    "d": dt.timedelta(days=1),
}


class Command(InstallationCommand):
    """Errors are one line that names the file or field, and the exit status 1."""

    help = "Push, promote, try, deprecate and retire model versions; docs/serve-your-model.md shows all of it."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        commands = parser.add_subparsers(dest="command", required=True, metavar="command")

        def add(name: str, words: str, act: Callable[[dict[str, Any]], None], *, of: str = "version") -> Any:
            made = commands.add_parser(name, help=words, description=words)
            made.set_defaults(act=act)
            if of == "version":
                made.add_argument("reference", metavar="NAME@VERSION")
            elif of == "versions":
                made.add_argument("references", nargs="+", metavar="NAME@VERSION")
            elif of == "model":
                made.add_argument("name", metavar="NAME")
            return made

        pushed = add("push", "Check folders or zips and stage each as a new version", self._push, of="")
        pushed.add_argument("paths", type=Path, nargs="+", metavar="PATH")
        pushed.add_argument("--owner", metavar="SLUG", help="the tenant whose private model it is; without it, on sale")
        self._may_wait(pushed, "wait until a worker has tried it")
        pushed.add_argument("--promote", action="store_true", help="wait, and make it live")
        add("list", "Every model with its versions", self._list, of="")
        add("show", "All about one version", self._show)
        self._may_wait(add("verify", "Have a worker load it and run its examples again", self._verify), "wait for that")
        self._may_wait(
            add("promote", "Make ready versions live", self._promote, of="versions"),
            "wait until they are ready and held",
        )
        add("rollback", "Go back to the version that was live before", self._rollback, of="model")
        canary = add("canary", "Let a version answer a share of the tenants", self._canary)
        canary.add_argument("--percent", type=int, default=5)
        shadow = add(
            "shadow", "Have a version compute a share of the inputs too, without answering calls", self._shadow
        )
        shadow.add_argument("--percent", type=int, default=100)
        add("stop", "Stop a model's canary and shadow", self._stop, of="model")
        ended = add("deprecate", "Announce the end of versions", self._deprecate, of="versions")
        ended.add_argument(
            "--sunset", required=True, metavar="WHEN", help="+200d, a day, or a time such as 2027-06-30T12:00:00Z"
        )
        ended.add_argument(
            "--successor", metavar="NAME@VERSION", help="where callers go; the live version where it is left out"
        )
        ended.add_argument("--reason", required=True, help="why it ends; customers read it")
        ended.add_argument("--short-notice", default="", metavar="WHY", help="why it is less than six months, if it is")
        add("retire", "Stop versions for good", self._retire, of="versions")
        add("purge", "Forget every cached answer of a model", self._purge, of="model")

    @staticmethod
    def _may_wait(parser: Any, words: str) -> None:
        parser.add_argument("--wait", action="store_true", help=words)

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            options["act"](options)
        except PlatformError as error:
            raise CommandError(f"{error.field}: {error.detail}" if error.field else error.detail) from error
        except ValidationError as error:
            raise CommandError("; ".join(_lines(error))) from error
        except OperationalError as error:
            raise CommandError(
                "What was written is kept, but the broker does not answer, so no worker was asked."
            ) from error

    def _push(self, options: dict[str, Any]) -> None:
        owner = None
        if options["owner"]:
            owner = Tenant.objects.filter(slug=options["owner"]).first()
            if owner is None:
                raise CommandError(f"There is no tenant {options['owner']!r}.")
        staged = []
        for path in options["paths"]:
            version = push.push(source=path, owner=owner, by=None, operator=True)
            self._say(f"{version} is staged: {version.size_bytes:,} bytes, SHA-256 {version.sha256}")
            for notice in push.notices(version):
                self._say(notice)
            staged.append(version)
        for version in staged if options["wait"] or options["promote"] else ():
            self._wait(version)
            if options["promote"]:
                self._wait_held(version)
                model_versions.promote(version=version)
                self._say(f"{version} is live")

    def _list(self, options: dict[str, Any]) -> None:
        for model in MLModel.objects.select_related("owner").prefetch_related("versions"):
            self._say(f"{model}, pool {model.pool}")
            for version in sorted(model.versions.all(), key=lambda one: one.created_at):
                problem = f": {version.load_error}" if version.load_error else ""
                self._say(f"  {version.version}  {version.state}  {version.runtime}{problem}")

    def _show(self, options: dict[str, Any]) -> None:
        version = _version(options)
        facts = {
            "state": version.state,
            "problem": version.load_error or "none",
            "runtime": version.runtime,
            "pool": version.model.pool,
            "owner": version.model.owner.slug if version.model.owner else "the platform",
            "input": version.input_schema,
            "output": version.output_schema,
            "labels": ", ".join(version.labels[:20]) + (" …" if len(version.labels) > 20 else ""),
            "precision": f"{version.precision}, acceleration {version.acceleration}, device {version.device}",
            "accuracy": "not measured" if version.accuracy is None else f"{version.accuracy}: {version.accuracy_note}",
            "speed": version.speed_note,
            "licence": version.licence,
            "files": f"{version.artefact_path}, {version.size_bytes:,} bytes",
            "sha-256": version.sha256,
        }
        self._say(str(version))
        for name, value in facts.items():
            if value:
                self._say(f"  {name}: {value}")

    def _verify(self, options: dict[str, Any]) -> None:
        version = _version(options)
        model_versions.request_verification(version=version)
        self._say(f"A worker was asked to try {version}.")
        if options["wait"]:
            self._wait(version)

    def _promote(self, options: dict[str, Any]) -> None:
        versions = _versions(options)
        for version in versions if options["wait"] else ():
            if version.state == VersionState.STAGED:
                self._wait(version)
            if version.state == VersionState.READY:
                self._wait_held(version)
        with transaction.atomic():
            for version in versions:
                model_versions.promote(version=version)
        for version in versions:
            self._say(f"{version} is live")

    def _rollback(self, options: dict[str, Any]) -> None:
        self._say(f"{model_versions.rollback(model=_model(options))} is live again")

    def _canary(self, options: dict[str, Any]) -> None:
        row = trials.start_canary(version=_version(options), percent=options["percent"])
        self._say(f"{row.candidate} answers {row.percent} % of the tenants")

    def _shadow(self, options: dict[str, Any]) -> None:
        row = trials.start_shadow(version=_version(options), percent=options["percent"])
        self._say(f"{row.candidate} computes {row.percent} % of the inputs too, and answers no calls")

    def _stop(self, options: dict[str, Any]) -> None:
        model = _model(options)
        for kind in RolloutKind:
            if trials.stop(model=model, kind=kind):
                self._say(f"The {kind.label.lower()} of {model} is stopped")

    def _deprecate(self, options: dict[str, Any]) -> None:
        versions, sunset_at = _versions(options), _moment(options["sunset"])
        with transaction.atomic():
            rows = [
                announce.deprecate(
                    version=version,
                    successor=options["successor"] or _live_beside(version),
                    sunset_at=sunset_at,
                    reason=options["reason"],
                    short_notice_reason=options["short_notice"],
                )
                for version in versions
            ]
        for row in rows:
            self._say(f"{row.subject} is deprecated and ends at {row.sunset_at:%Y-%m-%d %H:%M:%S} UTC")

    def _retire(self, options: dict[str, Any]) -> None:
        versions = _versions(options)
        with transaction.atomic():
            for version in versions:
                model_versions.retire(version=version)
        for version in versions:
            self._say(f"{version} is retired")

    def _purge(self, options: dict[str, Any]) -> None:
        model = _model(options)
        model_versions.purge_cache(model=model)
        self._say(f"Cached answers of {model} are forgotten")

    def _wait(self, version: ModelVersion) -> None:
        """Until a worker has given its verdict. Raises CommandError where it refuses the version or no worker answers."""
        end = time.monotonic() + _WAIT_S
        with _interruptible():
            while time.monotonic() < end:
                version.refresh_from_db()
                if version.load_error:
                    raise CommandError(f"{version} cannot be served: {version.load_error}")
                if version.state != VersionState.STAGED:
                    self._say(f"{version} is {version.state}")
                    return
                time.sleep(_LOOK_S)
        raise CommandError(f"No worker of the pool {version.model.pool} has tried {version} within {_WAIT_S:g} s.")

    def _wait_held(self, version: ModelVersion) -> None:
        """Until a worker holds a ready version in memory; one that dropped it is asked to load it. Raises what that raises."""
        end = time.monotonic() + _WAIT_HELD_S
        with _interruptible():
            while True:
                try:
                    return holding.require_held(version)
                except PlatformError as error:
                    if error.kind is not ErrorKind.CONFLICT or time.monotonic() >= end:
                        raise
                time.sleep(_LOOK_S)
                version.refresh_from_db()

    def _say(self, line: str) -> None:
        self.stdout.write(line)


@contextmanager
def _interruptible() -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        sys.exit(130)


def _versions(options: dict[str, Any]) -> list[ModelVersion]:
    """Each once, before anything is done to one; in one order, so that two commands do not wait for each other."""
    return [_found(reference) for reference in sorted(set(options["references"]))]


def _version(options: dict[str, Any]) -> ModelVersion:
    return _found(options["reference"])


def _found(reference: str) -> ModelVersion:
    found = names.version(reference)
    if found is None:
        raise CommandError(f"There is no model version {named(reference)}; {_instead_of(reference)}.")
    return found


def _live_beside(version: ModelVersion) -> str:
    live = subjects.successor_of(str(version))
    if not live:
        raise CommandError(f"No other version of {version.model} is live; promote one, or name a --successor.")
    return live


def _model(options: dict[str, Any]) -> MLModel:
    found = names.model(options["name"])
    if found is None:
        raise CommandError(f"There is no model {named(options['name'])}; {_instead_of(options['name'])}.")
    return found


def _instead_of(reference: str) -> str:
    """What may have been meant: a tenant's model is named with its tenant."""
    own = names.namesakes(reference.partition("@")[0])
    return f"tenants have {', '.join(own)}" if own else "manage.py model list shows all"


def _moment(text: str) -> dt.datetime:
    if ahead := _AHEAD.fullmatch(text):
        return clock.now() + int(ahead[1]) * _PERIODS[ahead[2]]
    try:
        moment = parse_datetime(text)
        if moment is None or len(text) <= len("2027-06-30"):
            day = parse_date(text)
            moment = dt.datetime.combine(day, dt.time.max, dt.UTC) if day else None
    except ValueError as error:
        raise CommandError(f"--sunset: {error}") from error
    if moment is None:
        raise CommandError("--sunset: write +200d, a day such as 2027-06-30, or a time such as 2027-06-30T12:00:00Z.")
    return moment if moment.tzinfo else moment.replace(tzinfo=dt.UTC)


def _lines(error: ValidationError) -> list[str]:
    if hasattr(error, "error_dict"):
        return [f"{field}: {' '.join(messages)}" for field, messages in error.message_dict.items()]
    return list(error.messages)
