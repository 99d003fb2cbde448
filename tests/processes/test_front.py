"""Half-sent requests before the real product: others are answered in their usual time, and refusals say what they always say."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack

import pytest

from tests.processes.conftest import Client, assert_charged_exactly
from tests.support import front as raw
from tests.support.every_call import CALLS
from tests.support.front import head
from tests.support.http import Answer
from tests.support.stack import Stack

pytestmark = [pytest.mark.processes, pytest.mark.xdist_group("stack")]

PUSH = CALLS["push"]


def waits_s(stack: Stack, client: Client) -> list[float]:
    """How long calls wait that are answered from the cache, and looks at the health of the process."""
    web = stack.webs[0]
    waits = []
    for _ in range(20):
        for answer in (web.predict(client.secret, "A wonderful morning"), web.get("/livez"), web.get("/readyz")):
            assert answer.status == 200, answer
            waits.append(answer.took_s)
    return sorted(waits)


@pytest.mark.parametrize("sender", ["a key", "a stranger"])
def test_half_sent_bodies(stack: Stack, client: Client, new_client: Callable[[], Client], sender: str) -> None:
    """More than three times as many as the process has threads."""
    usual = waits_s(stack, client)
    if sender == "a key":
        path, headers = "/v2/predict", {"Authorization": f"Bearer {new_client().secret}"}
    else:
        path, headers = "/admin/login/", {"Cookie": "csrftoken=" + "a" * 32}
    with ExitStack() as connections:
        for _ in range(160):
            each = connections.enter_context(raw.Client(stack.webs[0].port))
            each.send(head("POST", path, Content_Length="1000", **headers) + b'{"model":')
        waits = waits_s(stack, client)
    assert waits[len(waits) // 2] < 5 * usual[len(usual) // 2] + 0.25, (usual, waits)
    assert waits[-1] < 5.0, "no call waits until the silent ones are ended"


def test_a_silent_body_ends_with_408(stack: Stack, client: Client) -> None:
    with raw.Client(stack.webs[0].port) as silent:
        began = time.monotonic()
        silent.send(head("POST", "/v2/predict", Content_Length="1000", Authorization=f"Bearer {client.secret}") + b"{")
        answer = silent.answer()
        assert (answer.status, answer.headers["connection"]) == (408, "close")
        assert answer.json["request_id"] == answer.headers["x-request-id"]
        assert time.monotonic() - began > 9.0
        assert silent.ended(within_s=5.0)
    metrics = stack.webs[0].get("/metrics").text
    assert 'mlplatform_http_refused_total{reason="body-slow"}' in metrics
    for name in ("connections", "half_sent_bodies", "body_bytes", "waiting_requests", "loop_lag_seconds_count"):
        assert f"mlplatform_http_{name}" in metrics
    good: Answer = stack.webs[0].predict(client.secret, "after it")
    assert_charged_exactly(stack, client, [good])


@pytest.mark.parametrize("length", [1_000, 3_000_000])
def test_pushes_that_do_not_come_hold_no_other(
    stack: Stack, client: Client, new_client: Callable[[], Client], length: int
) -> None:
    with ExitStack() as connections:
        for _ in range(2):
            each = connections.enter_context(raw.Client(stack.webs[0].port))
            secret = new_client().secret
            headers = {"Authorization": f"Bearer {secret}", "Content-Type": PUSH.content_type}
            each.send(head("POST", PUSH.path, Content_Length=str(length), **headers) + b"PK")
        time.sleep(0.5)
        headers = {"Authorization": f"Bearer {client.secret}", "Content-Type": PUSH.content_type}
        answer = stack.webs[0].call("POST", PUSH.path, body=PUSH.content, headers=headers)
        assert answer.status == 201, answer.text


def test_a_large_push_of_a_stranger_is_not_read(stack: Stack) -> None:
    for headers in ({}, {"Expect": "100-continue"}):
        with raw.Client(stack.webs[0].port) as stranger:
            content = {
                "Content-Type": PUSH.content_type,
                "Authorization": "Bearer mlp_live_0123456789012345678901_000000",
            }
            stranger.send(head("POST", PUSH.path, Content_Length="300000000", **content, **headers))
            answer = stranger.answer()
            assert (answer.status, answer.headers["connection"]) == (401, "close")
            assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("name", ["v2", "oip", "openai", "graphql", "push"])
def test_a_length_beyond_all_bounds_is_refused_in_the_words_of_the_face(
    stack: Stack, client: Client, name: str
) -> None:
    call = CALLS[name]
    headers = {"Authorization": f"Bearer {client.secret}", "Content-Type": call.content_type, **call.headers}
    with raw.Client(stack.webs[0].port) as connection:
        connection.send(head("POST", call.path, Content_Length=str(10**12), **headers))
        answer = connection.answer()
        assert (answer.status, answer.headers["connection"]) == (413, "close")
        assert "larger than" in call.problem(answer.json)


def test_a_large_push_is_spooled(stack: Stack, client: Client) -> None:
    """It is read whole, and is what it is: no package."""
    headers = {"Authorization": f"Bearer {client.secret}", "Content-Type": PUSH.content_type}
    answer = stack.webs[0].call("POST", PUSH.path, body=b"no zip" * 1_000_000, headers=headers)
    assert answer.status == 422, answer.text
