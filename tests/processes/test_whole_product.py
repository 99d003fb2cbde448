"""The whole product, process by process: changes reach each of them, and what they leave in Redis and in files.

Every answer that is declared here stands in ``docs/failures.md``. Nothing measures time; waiting ends when a thing has
happened. The tests share one product, in this order: the search for secrets comes last, when most was written.
"""

from __future__ import annotations

import itertools
import json
import re
import threading
from concurrent.futures import ThreadPoolExecutor
from fnmatch import fnmatchcase
from functools import partial

import psutil
import pytest

from mlplatform.run.environment import ROOT
from tests.processes.conftest import (
    Client,
    assert_charged_exactly,
    assert_right,
    everything_written,
    is_late_redis,
    listening,
    secrets_of,
    unwrapped,
)
from tests.support.http import Answer, Http
from tests.support.stack import PRIVATE_WORKER, Stack
from tests.support.waiting import until

FAILURES = ROOT / "docs" / "failures.md"
LASTING = "until (they|then|taken|staff|it)|a field|for ever"

pytestmark = [pytest.mark.processes, pytest.mark.xdist_group("stack")]


@pytest.mark.walk
def test_servers_and_workers_listen_on_loopback_only(stack: Stack) -> None:
    servers = [psutil.Process(stack.state.pid), psutil.Process(stack.cache.pid)]
    assert [listening([server]) for server in servers] == [{"127.0.0.1"}, {"127.0.0.1"}]
    for name in stack.processes.keys() - {PRIVATE_WORKER}:
        tree = stack.processes[name].tree()
        assert tree, name
        assert listening(tree) == ({"127.0.0.1"} if name.startswith(("web-", "grpc")) else set()), name


@pytest.mark.walk
def test_a_key_revoked_elsewhere_is_refused_by_every_web_process_at_once(stack: Stack, client: Client) -> None:
    before = [web.predict(client.secret, f"asked of {web.port}") for web in stack.webs]
    stack.shell("revoke", key_id=client.key_id)
    after = [web.predict(client.secret, f"asked again of {web.port}") for web in stack.webs]
    cached = [web.predict(client.secret, f"asked of {web.port}") for web in stack.webs]
    assert [answer.status for answer in before] == [200, 200]
    assert [answer.status for answer in after + cached] == [401] * 4
    assert "revoked" in after[0].body["detail"]
    ledger = until(
        lambda: stack.shell("ledger", tenant_id=client.tenant_id), lambda seen: seen["records"] >= len(before)
    )
    assert ledger["requests"] == sorted(answer.headers["x-request-id"] for answer in before)


@pytest.mark.walk
def test_a_promotion_reaches_every_web_process(stack: Stack, client: Client) -> None:
    text = "The same text for both versions."

    def asked() -> list[str]:
        return [web.predict(client.secret, text).body["model_version"] for web in stack.webs]

    old = asked()
    stack.shell("promote", model="sentiment", version="2.0.0")
    try:
        until(asked, lambda versions: versions == ["2.0.0"] * 2)
        assert {version for _ in range(5) for version in asked()} == {"2.0.0"}
    finally:
        stack.shell("promote", model="sentiment", version=old[0])
    assert old == ["1.0.0"] * 2
    until(asked, lambda versions: versions == old)


def test_promotions_and_rollbacks_under_load_fail_no_call_and_every_answer_is_its_versions(
    stack: Stack, client: Client
) -> None:
    web = stack.webs[0]
    headers = {"Authorization": f"Bearer {client.secret}", "Content-Type": "application/json"}
    texts = [f"{mood}, said customer {number}" for number in range(3) for mood in ("I love it", "never again")]
    answers: list[tuple[str, Answer]] = []
    late: list[Answer] = []
    over = threading.Event()

    def ask(number: int) -> Answer:
        """Every second call is computed anew; the others may be answered by a cache, which must not mix versions either."""
        text = texts[number % len(texts)]
        body = json.dumps({"model": "sentiment", "input": text}).encode()
        fresh = {"Cache-Control": "no-cache"} if number % 2 else {}
        answer = web.call("POST", "/v2/predict", body=body, headers=headers | fresh)
        if is_late_redis(answer):
            late.append(answer)
            return ask(number)
        answers.append((text, answer))
        return answer

    def load(first: int) -> None:
        for number in itertools.count(first, 7):
            if over.is_set():
                return
            ask(number)

    def live(number: int) -> str:
        return str(ask(number).body["model_version"])

    with ThreadPoolExecutor(3) as pool:
        clients = [pool.submit(load, first) for first in range(3)]
        try:
            for number in range(10):
                stack.shell("promote", model="sentiment", version="2.0.0")
                until(partial(live, number), lambda version: version == "2.0.0")
                assert stack.shell("roll_back", model="sentiment") == "1.0.0"
                until(partial(live, number), lambda version: version == "1.0.0")
        finally:
            over.set()
        for one in clients:
            one.result()
    assert {answer.status for _, answer in answers} == {200}
    assert len(late) <= 8, "on a busy machine"
    assert {answer.body["model_version"] for _, answer in answers} == {"1.0.0", "2.0.0"}
    seen = {(text, answer.body["model_version"], str(answer.body["predictions"])): answer for text, answer in answers}
    for (text, _, _), answer in seen.items():
        assert_right({text: answer})
    assert_charged_exactly(stack, client, [answer for _, answer in answers])


@pytest.mark.walk
def test_a_text_that_is_too_long_is_cut_or_refused_as_each_call_asks_in_every_web_process(
    stack: Stack, client: Client
) -> None:
    """Both at the same time, in two processes that share a cache: neither is given the other's answer."""
    headers = {"Authorization": f"Bearer {client.secret}", "Content-Type": "application/json"}
    answers: list[Answer] = []
    for number in range(3):
        body = {"model": "sentiment", "input": f"Number {number} of them. " + "It is quite good. " * 100}
        cutting = {**body, "parameters": {"truncate": True}}
        with ThreadPoolExecutor(4) as pool:
            asked = [
                pool.submit(web.call, "POST", "/v2/predict", body=json.dumps(sent).encode(), headers=headers)
                for web, sent in zip(stack.webs * 2, (cutting, body, body, cutting), strict=True)
            ]
        first, *refused, second = (one.result() for one in asked)
        assert (first.status, second.status) == (200, 200), (first.text, second.text)
        told = first.body["truncated"]
        assert (second.body["truncated"], told["max_tokens"]) == (told, 256)
        assert second.body["predictions"] == first.body["predictions"]
        for answer in refused:
            assert (answer.status, answer.body["field"]) == (422, "input"), answer.text
            assert {name: answer.body[name] for name in told} == told
        answers += [first, second, *refused]
    assert_charged_exactly(stack, client, answers)
    models = stack.webs[0].call("GET", "/v2/models/sentiment", headers=headers).body
    assert {version["input"]["max_tokens"] for version in models["versions"]} == {256}


def v1_1(web: Http, client: Client) -> Answer:
    headers = {"Authorization": f"Bearer {client.secret}", "Content-Type": "application/json"}
    return web.call("POST", "/v1.1/predict", body=b'{"model": "sentiment", "input": "Good."}', headers=headers)


@pytest.mark.walk
def test_a_schedule_and_its_brownout_reach_every_web_process(stack: Stack, client: Client) -> None:
    def seen() -> list[tuple[int, str]]:
        answers = [v1_1(web, client) for web in stack.webs]
        return [(answer.status, answer.headers.get("x-api-deprecated", "")) for answer in answers]

    assert seen() == [(200, "")] * 2
    schedule_id = stack.shell("deprecate", subject="v1.1", successor="v2", share=100)
    try:
        until(seen, lambda found: found == [(503, "true")] * 2)
        assert v1_1(stack.webs[1], client).body["type"] == "/docs/problems#brownout"
        assert [web.predict(client.secret, "v2 has no end").status for web in stack.webs] == [200, 200]
    finally:
        stack.shell("call_off", schedule_id=schedule_id)
    until(seen, lambda found: found == [(200, "")] * 2)


@pytest.mark.walk
def test_a_migration_is_rehearsed_by_the_jobs_worker_and_costs_nothing(stack: Stack, client: Client) -> None:
    web = stack.webs[0]
    auth = {"Authorization": f"Bearer {client.secret}", "Content-Type": "application/json"}
    stack.shell("keep_calls", tenant_id=client.tenant_id)
    schedule_id = stack.shell("deprecate", subject="v1.1", successor="v2", share=0)
    place = f"/v2/deprecations/{schedule_id}/rehearsal"
    calls: list[Answer] = []

    def ask() -> Answer:
        calls.append(v1_1(web, client))
        return calls[-1]

    def rehearsed() -> Answer:
        """The last rehearsal; one that found no calls yet is asked for again, and none is while one is under way."""
        seen = web.get(place, **auth)
        if seen.status != 200 or (seen.body["finished_at"] and not (seen.body["report"] or {"calls": 0})["calls"]):
            web.call("POST", place, body=b"{}", headers=auth)
        return seen

    try:
        # Only what a process answers after it has heard of the schedule can be sampled; a second later the sample is kept.
        until(ask, lambda answer: "deprecation" in answer.headers)
        left = stack.shell("remaining", secret=client.secret)
        found = until(
            rehearsed,
            lambda answer: answer.status == 200 and (answer.body["report"] or {"calls": 0})["calls"] > 0,
        )
        assert (found.body["state"], found.body["verdict"]) == ("succeeded", "ready"), found.text
        assert found.body["report"]["new_latency_ms"] > 0
        assert stack.shell("remaining", secret=client.secret) == left
    finally:
        stack.shell("call_off", schedule_id=schedule_id)
    ledger = until(
        lambda: stack.shell("ledger", tenant_id=client.tenant_id), lambda seen: seen["records"] >= len(calls)
    )
    assert ledger["requests"] == sorted(answer.headers["x-request-id"] for answer in calls)


def test_every_key_of_the_state_redis_is_declared_and_ends_as_declared(stack: Stack) -> None:
    """After all that these tests did to the product."""
    table = FAILURES.read_text().partition("## What lies in the state Redis")[2].partition("\n## ")[0]
    rows = [line.split("|") for line in table.splitlines() if line.startswith("| `")]
    assert len(rows) > 10
    lasting = {pattern for row in rows for pattern in re.findall("`([^`]+)`", row[1]) if re.search(LASTING, row[3])}
    declared = {pattern for row in rows for pattern in re.findall("`([^`]+)`", row[1])}
    keys: list[tuple[str, bool]] = stack.shell("keys_of_state")
    assert {name.split(":")[1] for name, _ in keys if name.startswith("{s")} >= {"limits", "marks", "key", "tenant"}
    for name, ends in keys:
        matching = {pattern for pattern in declared if fnmatchcase(name, pattern)}
        assert matching, f"{name} is not declared"
        assert ends or matching & lasting, f"{name} lives for ever, and is not declared to"


def test_no_secret_is_written_anywhere(stack: Stack, client: Client, clients: list[Client]) -> None:
    trace = "a text that passes through the broker"
    assert stack.webs[0].predict(client.secret, trace).status == 200
    secrets = secrets_of(stack, clients)
    written = everything_written(stack)
    written["every row of SQL"] = "\n".join(stack.shell("rows")).encode()
    assert len(secrets) > 10
    assert {"web-0.log", "gpu-worker.log", "jobs-worker.log", "beat.log"} <= {
        path.rpartition("/")[2] for path in written
    }
    seen = {path: unwrapped(content) for path, content in written.items()}
    # The search must find what is there, even in the packed payload of a task.
    assert any(trace.encode() in content for content in seen.values())
    found = [(path, name) for path, content in seen.items() for name, secret in secrets.items() if secret in content]
    assert found == []
