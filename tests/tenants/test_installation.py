"""Whose a Redis is: one id in SQL and in every Redis, and nothing is written to another installation's."""

import signal
import uuid
from collections.abc import Iterator
from io import StringIO

import pytest
from django.core.checks import run_checks
from django.core.management import CommandError, call_command
from pytest_django import Settings

from mlplatform.lib import redis
from tenants import installation
from tenants.installation import KEY, ForeignRedisError
from tenants.models import Installation
from tests.support.redis_server import RedisServer
from tests.support.second_process import SecondProcess
from tests.support.waiting import until

OTHER = str(uuid.uuid4())
pytestmark = pytest.mark.django_db


def contents(server: RedisServer) -> dict[bytes, bytes | None]:
    """Every key of a server with its value, as the server would hand it to a replica."""
    client = server.client()
    return {key: client.dump(key) for key in client.scan_iter()}


def test_the_first_process_makes_the_id_and_stamps_every_redis() -> None:
    installation.require()
    uid = str(Installation.objects.get().uid)
    assert redis.state().get(KEY) == redis.cache().get(KEY) == uid.encode()
    installation.require()
    assert installation.uid() == uid


@pytest.mark.parametrize("lost", ["state", "cache"])
def test_a_redis_that_lost_its_data_is_stamped_anew(
    lost: str, state_redis: RedisServer, cache_redis: RedisServer
) -> None:
    installation.require()
    {"state": state_redis, "cache": cache_redis}[lost].flush()
    installation.require()
    assert redis.state().get(KEY) == redis.cache().get(KEY) == installation.uid().encode()


@pytest.mark.parametrize("foreign", ["state", "cache"])
def test_anothers_redis_is_refused_by_both_ids_and_nothing_is_written(
    foreign: str, state_redis: RedisServer, cache_redis: RedisServer, settings: Settings
) -> None:
    server = {"state": state_redis, "cache": cache_redis}[foreign]
    server.client().set(KEY, OTHER)
    with pytest.raises(ForeignRedisError) as refused:
        installation.require()
    said = str(refused.value)
    for word in (
        OTHER,
        installation.uid(),
        f"the {foreign} Redis at 127.0.0.1:{server.port}".removeprefix("the "),
        {"state": "REDIS_URL", "cache": "CACHE_REDIS_URL"}[foreign],
        str(settings.DATABASES["default"]["NAME"]),
        f"manage.py installation adopt {OTHER}",
    ):
        assert word in said
    assert contents(server).keys() == {KEY.encode()}
    assert server.client().get(KEY) == OTHER.encode()
    # The server that is right, or bears no id yet, was not stamped either.
    assert {**contents(state_redis), **contents(cache_redis)}.keys() == {KEY.encode()}
    assert sum(len(contents(one)) for one in (state_redis, cache_redis)) == 1


def test_a_broker_of_its_own_is_compared_too(settings: Settings) -> None:
    with RedisServer() as broker:
        settings.CELERY_BROKER_URL = broker.url
        installation.require()
        assert broker.client().get(KEY) == installation.uid().encode()
        broker.client().set(KEY, OTHER)
        with pytest.raises(ForeignRedisError, match=f"broker Redis at 127.0.0.1:{broker.port}"):
            installation.require()


def test_another_that_stamps_in_the_same_moment_wins_or_loses_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    looked = installation.Server.bears

    def bears(self: installation.Server) -> str | None:
        found = looked(self)
        if self.role == "state":
            redis.state().set(KEY, OTHER, nx=True)
        return found

    monkeypatch.setattr(installation.Server, "bears", bears)
    with pytest.raises(ForeignRedisError, match=OTHER):
        installation.require()
    assert redis.state().get(KEY) == OTHER.encode()


@pytest.mark.parametrize(
    "command", [["model", "list"], ["seed_demo"], ["install_demo_models"], ["trust_documents", "acme", "."]]
)
def test_commands_refuse_anothers_redis_before_they_write(command: list[str], state_redis: RedisServer) -> None:
    state_redis.client().set(KEY, OTHER)
    before = contents(state_redis)
    with pytest.raises(CommandError, match=OTHER):
        call_command(*command)
    assert contents(state_redis) == before


def test_a_command_says_so_where_nothing_runs_for_its_data_dir(settings: Settings) -> None:
    settings.REDIS_URL, settings.REDIS_URL_SOURCE = "redis://127.0.0.1:1/0", ""
    settings.CELERY_BROKER_URL = settings.REDIS_URL
    with pytest.raises(CommandError) as refused:
        call_command("model", "list")
    assert str(settings.DATA_DIR) in str(refused.value)
    assert "REDIS_URL" in str(refused.value)
    assert "make run" in str(refused.value)


def test_a_command_names_the_redis_that_does_not_answer_and_never_its_password(settings: Settings) -> None:
    settings.REDIS_URL = settings.CELERY_BROKER_URL = "redis://:canary-password@127.0.0.1:1/0"
    with pytest.raises(CommandError, match=r"127\.0\.0\.1:1/0 \(from REDIS_URL\) does not answer") as refused:
        call_command("model", "list")
    assert "canary-password" not in str(refused.value)


def test_a_command_says_that_the_password_is_refused_and_never_which(state_redis: RedisServer) -> None:
    with (
        state_redis.refusing(),
        pytest.raises(CommandError, match=r"\(from REDIS_URL\) refuses the password\. `make run`") as refused,
    ):
        call_command("model", "list")
    assert state_redis.password not in str(refused.value)


def test_a_cache_that_is_away_stops_nothing(cache_redis: RedisServer) -> None:
    cache_redis.stop()
    installation.require()
    assert redis.state().get(KEY) == installation.uid().encode()


def test_a_full_state_redis_stops_nothing(state_redis: RedisServer) -> None:
    client = state_redis.client()
    client.config_set("maxmemory", "1")
    try:
        installation.require()
    finally:
        client.config_set("maxmemory", "0")
    assert client.get(KEY) is None


def test_adopting_names_the_id_and_takes_the_redis_over() -> None:
    redis.state().set(KEY, OTHER)
    third = str(uuid.uuid4())
    with pytest.raises(CommandError, match=OTHER):
        call_command("installation", "adopt", third)
    assert redis.state().get(KEY) == OTHER.encode()
    assert "is this installation's now" in told("adopt", OTHER)
    assert "already" in told("adopt", OTHER)
    installation.require()
    shown = told("show")
    assert shown.count(installation.uid()) == 3


def test_a_copied_database_gets_an_id_of_its_own_and_leaves_the_redis_alone() -> None:
    installation.require()
    old = installation.uid()
    assert old in told("renew")
    assert installation.uid() != old
    assert redis.state().get(KEY) == old.encode()
    with pytest.raises(CommandError, match=old):
        call_command("installation", "check")


def test_the_system_check_names_it_with_a_hint() -> None:
    installation.require()
    assert [one for one in run_checks(databases=["default"]) if one.id == "mlplatform.E003"] == []
    redis.cache().set(KEY, OTHER)
    assert [one.id for one in run_checks() if one.id == "mlplatform.E003"] == []
    (message,) = [one for one in run_checks(databases=["default"]) if one.id == "mlplatform.E003"]
    assert OTHER in message.msg
    assert f"adopt {OTHER}" in (message.hint or "")


@pytest.mark.django_db(transaction=True)
@pytest.mark.processes
@pytest.mark.parametrize("bears", [None, OTHER], ids=["nothing", "another"])
def test_a_serving_process_starts_without_redis_and_looks_when_it_comes(
    bears: str | None, state_redis: RedisServer
) -> None:
    if bears is not None:
        state_redis.client().set(KEY, bears)
    state_redis.stop()
    code = "from tenants import installation\ninstallation.at_start()\nsay(installation.uid())\nhear()\n"
    with SecondProcess(code) as process:
        uid = process.hear()
        state_redis.start()
        if bears is None:
            until(lambda: redis.state().get(KEY), lambda found: found == uid.encode())
            process.say("enough")
            assert process.wait() == 0
        else:
            assert process.wait() == -signal.SIGTERM
            assert contents(state_redis).keys() == {KEY.encode()}


@pytest.mark.django_db(transaction=True)
@pytest.mark.processes
def test_of_several_processes_that_start_at_once_one_makes_the_id() -> None:
    code = "from tenants import installation\nsay('up')\nhear()\ninstallation.require()\nsay(installation.uid())\n"
    with SecondProcess(code) as one, SecondProcess(code) as two, SecondProcess(code) as three:
        for process in (one, two, three):
            assert process.hear() == "up"
        for process in (one, two, three):
            process.say("go")
        ids = {process.hear() for process in (one, two, three)}
    assert ids == {str(Installation.objects.get().uid)}
    assert redis.state().get(KEY) == next(iter(ids)).encode()


def told(*arguments: str) -> str:
    """What ``manage.py installation`` prints."""
    out = StringIO()
    call_command("installation", *arguments, stdout=out)
    return out.getvalue()


@pytest.fixture(autouse=True)
def servers_come_back(state_redis: RedisServer, cache_redis: RedisServer) -> Iterator[None]:
    """A test that stops one leaves it running."""
    yield
    state_redis.start()
    cache_redis.start()
