"""One stack for all tests of real processes, and what they ask of a load when it is over."""

from __future__ import annotations

import base64
import binascii
import contextlib
import json
import math
import re
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.support import demo_models
from tests.support.http import Answer, Load
from tests.support.stack import Stack
from tests.support.waiting import until

INCLUDED = 1_000_000
CONCURRENT = 500
_BASE64 = re.compile(rb"[A-Za-z0-9+/]{40,}={0,2}")
SECRET_KEY = "canary-secret-key-" + uuid.uuid4().hex


@dataclass(frozen=True)
class Client:
    """A tenant of its own, so that each test can count every unit."""

    tenant_id: int
    key_id: int
    secret: str
    password: str


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Every process of the product; a test that stops one starts it again."""
    data_dir = tmp_path_factory.mktemp("stack") / "data"
    # A machine that is busy with tests lets Redis wait for longer than a product would: that is no failure of it. And it lets
    # a niced process of a tenant's model wait for a processor, up to twelve times its limit, which must end before its call.
    with Stack(data_dir, SECRET_KEY=SECRET_KEY, REDIS_TIMEOUT_S="0.5", PRIVATE_BATCH_S="2") as running:
        yield running


@pytest.fixture(scope="session")
def clients(stack: Stack) -> list[Client]:
    """Every client that was made, for the search for their secrets."""
    return []


@pytest.fixture
def new_client(stack: Stack, clients: list[Client]) -> Callable[[], Client]:
    """Make a client."""

    def make() -> Client:
        made = stack.shell(
            "customer", slug=f"client-{uuid.uuid4().hex[:8]}", included_units=INCLUDED, concurrent=CONCURRENT
        )
        clients.append(Client(**made))
        return clients[-1]

    return make


@pytest.fixture
def client(stack: Stack, new_client: Callable[[], Client]) -> Client:
    """The client of this test, on a product that is ready."""
    stack.wait_until_ready()
    return new_client()


def assert_charged_exactly(stack: Stack, client: Client, answers: list[Answer]) -> None:
    """Each 200 has one record in the ledger, with its units, and nothing else has one; every limit agrees.

    It waits for beat and the jobs worker to bring the records to SQL, and for holds to be given back.
    """
    answered = [answer for answer in answers if answer.status == 200]
    ledger = settled_books(stack, client)
    assert ledger["requests"] == sorted(answer.headers["x-request-id"] for answer in answered)
    assert (ledger["day_calls"], ledger["day_units"]) == (len(answered), _units(answered))


def assert_charged_as_told(stack: Stack, client: Client, answers: list[Answer]) -> None:
    """Call by call: what a batch was answered for is what the ledger has of it, and the others are not in it."""
    charged = settled_books(stack, client)["by_request"]
    told = {
        answer.headers["x-request-id"]: answer.body["usage"]["units"] if answer.status == 200 else 0
        for answer in answers
    }
    assert charged.keys() <= told.keys()
    assert {name: units for name, units in told.items() if units} == {
        name: units for name, units in charged.items() if units
    }


def _units(answered: Sequence[Answer]) -> int:
    return sum(answer.body["usage"]["units"] for answer in answered)


def settled_books(stack: Stack, client: Client) -> dict[str, Any]:
    """The ledger, once every hold is given back and every limit agrees with it."""

    def books() -> tuple[dict[str, int], dict[str, Any]]:
        return stack.shell("remaining", secret=client.secret), stack.shell("ledger", tenant_id=client.tenant_id)

    _, ledger = until(
        books,
        # A drain may fall between the reads of one look: it is over when the sums agree with the records, too.
        lambda seen: (
            seen[0]["concurrent"] == CONCURRENT
            and seen[0]["included"] + seen[1]["units"] == INCLUDED
            and seen[1]["units"] == seen[1]["day_units"]
        ),
    )
    return ledger


def assert_right(answers: dict[str, Answer]) -> None:
    """Each answer is what the model says of that text when it is asked directly, one text at a time."""
    for text, answer in answers.items():
        if answer.status != 200:
            continue
        version = answer.body["model_version"]
        labels = demo_models.card("sentiment", version).labels
        scores = demo_models.runtime("sentiment", version).run([text])[0].tolist()
        given = {one["label"]: one["score"] for one in answer.body["predictions"]}
        assert given.keys() == set(labels), text
        for label, score in zip(labels, scores, strict=True):
            assert math.isclose(given[label], score, abs_tol=1e-3), (text, given)


def assert_none_failed(load: Load) -> None:
    """Every call had an answer. Only a busy machine's Redis may be late, for the calls that are under way then."""
    others = [answer for answer in load.answers.values() if answer.status != 200]
    assert all(is_late_redis(answer) for answer in others), others[:3]
    assert len(others) <= load.clients


def is_late_redis(answer: Answer) -> bool:
    """Whether the state Redis did not answer in time, so that nothing of the call began."""
    return answer.may_be_repeated and answer.body["detail"].startswith("Usage cannot be checked at this moment")


def assert_success_or_come_again(load: Load) -> None:
    """Every client saw 200, or 503 with Retry-After as a problem."""
    bad = [answer for answer in load.answers.values() if answer.status != 200 and not answer.may_be_repeated]
    assert not bad, bad[:3]


def everything_written(stack: Stack) -> dict[str, bytes]:
    """Every file that the processes and the Redis servers wrote, by path; models and the files for secrets left out."""
    known_to_hold_secrets = {
        stack.data_dir / "demo.json",
        stack.data_dir / "secret_key",
        *(server.directory / "redis.conf" for server in (stack.state, stack.cache)),
    }
    files: list[Path] = []
    for root in (stack.data_dir, stack.state.directory, stack.cache.directory):
        files += [path for path in root.rglob("*") if path.is_file() and stack.data_dir / "models" not in path.parents]
    return {str(path): path.read_bytes() for path in files if path not in known_to_hold_secrets}


def secrets_of(stack: Stack, clients: list[Client]) -> dict[str, bytes]:
    """Every secret of the installation by a name that may be printed."""
    demo = json.loads((stack.data_dir / "demo.json").read_text())
    found = {"SECRET_KEY": SECRET_KEY, "admin": demo["admin_password"]}
    for slug, tenant in demo["tenants"].items():
        found |= {f"key of {slug}": tenant["api_key"], f"password of {slug}": tenant["password"]}
    for one in clients:
        found |= {f"key of {one.tenant_id}": one.secret, f"password of {one.tenant_id}": one.password}
    found |= {f"password of {server.role}": server.password for server in (stack.state, stack.cache)}
    found["the file secret_key"] = (stack.data_dir / "secret_key").read_text().strip()
    return {name: secret.encode() for name, secret in found.items()}


def unwrapped(content: bytes) -> bytes:
    """The bytes, and what their base64 parts hold, three layers deep: task, its arguments, the batch in them."""
    layers = [content]
    for _ in range(3):
        inner = []
        for match in _BASE64.finditer(layers[-1]):
            with contextlib.suppress(binascii.Error):
                inner.append(base64.b64decode(match[0]))
        layers.append(b"\n".join(inner))
    return b"\n".join(layers)


def listening(processes: Sequence[psutil.Process]) -> set[str]:
    """The addresses on which these processes accept TCP connections; gRPC's library writes those of IPv4 as IPv6."""
    return {
        connection.laddr.ip.removeprefix("::ffff:")
        for process in processes
        for connection in process.net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    }
