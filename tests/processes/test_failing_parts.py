"""Each part of the product dies, is stopped or stands still: what callers see and pay meanwhile, and that it comes back.

Every answer that is declared here stands in ``docs/failures.md``. Nothing measures time; waiting ends when a thing has happened.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from operator import lt

import pytest

from inference.grpc.generated import ml_inference_pb2 as pb
from tests.processes.conftest import (
    Client,
    assert_charged_as_told,
    assert_charged_exactly,
    assert_none_failed,
    assert_right,
    assert_success_or_come_again,
)
from tests.support.grpc import Grpc, listens
from tests.support.http import NO_ANSWER, Answer, Http, Load
from tests.support.stack import Process, Stack
from tests.support.waiting import settle_down, until

pytestmark = [pytest.mark.processes, pytest.mark.xdist_group("stack")]


def test_a_killed_gpu_worker_comes_back_and_no_call_is_wrong_or_charged_twice(stack: Stack, client: Client) -> None:
    starts = stack.gpu_worker.starts
    with Load(stack.webs[:1], client.secret, about="kill the worker") as load:
        until(load.statuses, lambda seen: seen[200] >= 30)
        stack.gpu_worker.kill()
        until(lambda: stack.gpu_worker.starts, lambda seen: seen > starts)
        answered = load.statuses()[200]
        until(load.statuses, lambda seen: seen[200] >= answered + 40)
    assert_success_or_come_again(load)
    assert_charged_exactly(stack, client, list(load.answers.values()))
    assert_right(load.answers)


@pytest.mark.parametrize("way", ["stop", "kill", "pause"])
def test_without_the_state_redis_calls_get_503_and_nothing_is_unmetered(stack: Stack, client: Client, way: str) -> None:
    starts = {name: process.starts for name, process in stack.processes.items()}
    with Load(stack.webs, client.secret, about=f"{way} the state") as load:
        until(load.statuses, lambda seen: seen[200] >= 30)
        {"stop": stack.state.stop, "kill": stack.state.kill, "pause": stack.state.pause}[way]()
        try:
            refused = until(load.statuses, lambda seen: seen[503] >= 30)
            served = [web.predict(client.secret, f"asked while it is away: {way}") for web in stack.webs]
            ready = stack.readyz()
            # Long enough that batches under way are given up, which must not be charged later.
            until(load.statuses, lambda seen: seen[503] >= refused[503] + 100)
        finally:
            stack.state.resume() if way == "pause" else stack.state.start()
        answered = load.statuses()[200]
        until(load.statuses, lambda seen: seen[200] >= answered + 30)
    for answer in served:
        assert answer.may_be_repeated, answer
        assert "nothing was charged" in answer.body["detail"]
    assert ready.status == 503
    assert ready.body["checks"]["redis-state"] == "Redis does not answer"
    stack.wait_until_ready()
    assert_success_or_come_again(load)
    assert_charged_exactly(stack, client, list(load.answers.values()))
    assert {name: process.starts for name, process in stack.processes.items()} == starts


def test_pauses_of_the_state_redis_under_mixed_batches_charge_what_was_answered(stack: Stack, client: Client) -> None:
    """Batches of cached and new inputs are settled by web processes and workers at once, and some of them in every pause."""
    over = threading.Event()
    numbers = itertools.count()
    answers: list[Answer] = []

    def load(web: Http) -> None:
        while not over.is_set():
            number = next(numbers)
            texts = [f"asked often {number % 5}", f"asked once {number}", f"asked often {number % 7}"]
            answers.append(web.batch_predict(client.secret, [{"model": "sentiment", "input": text} for text in texts]))

    def seen(status: int) -> int:
        return sum(answer.status == status for answer in list(answers))

    with ThreadPoolExecutor(32) as pool:
        clients = [pool.submit(load, stack.webs[number % len(stack.webs)]) for number in range(32)]
        try:
            for _ in range(6):
                answered = seen(200)
                until(partial(seen, 200), partial(lt, answered + 60))
                refused = seen(503)
                stack.state.pause()
                try:
                    until(partial(seen, 503), partial(lt, refused + 40))
                finally:
                    stack.state.resume()
        finally:
            over.set()
        for one in clients:
            one.result()
    assert {answer.status for answer in answers} == {200, 503}
    assert all(answer.may_be_repeated for answer in answers if answer.status == 503)
    stack.wait_until_ready()
    assert_charged_as_told(stack, client, answers)


def test_permits_of_a_killed_web_process_are_free_within_a_minute_without_any_call(
    stack: Stack, client: Client
) -> None:
    free = stack.shell("remaining", secret=client.secret)["concurrent"]
    processes = stack.gpu_worker.tree()
    with ThreadPoolExecutor(8) as pool:
        for process in processes:
            process.suspend()
        try:
            asked = [
                pool.submit(stack.webs[1].predict, client.secret, f"without an answer {number}") for number in range(8)
            ]
            until(lambda: stack.shell("remaining", secret=client.secret)["concurrent"], lambda left: left == free - 8)
            for process in stack.processes["web-1"].tree():
                process.kill()
            answers = [one.result() for one in asked]
            # Nothing calls or reads limits from here on: only the clockwork can end the holds.
            assert stack.shell("open_holds", tenant_id=client.tenant_id) == 8
            stack.shell("end_holds", tenant_id=client.tenant_id)
            until(lambda: stack.shell("open_holds", tenant_id=client.tenant_id), lambda holds: holds == 0, within_s=60)
        finally:
            for process in processes:
                process.resume()
    assert stack.shell("remaining", secret=client.secret)["concurrent"] == free
    stack.wait_until_ready()
    assert {answer.status for answer in answers} == {NO_ANSWER}
    assert_charged_as_told(stack, client, [])


def test_while_the_state_redis_refuses_the_password_calls_get_503_and_then_every_process_signs_in_again(
    stack: Stack, client: Client
) -> None:
    answers = [stack.webs[0].predict(client.secret, "before the password was another")]
    with stack.state.refusing():
        refused = [web.predict(client.secret, f"while it is refused by {web.port}") for web in stack.webs]
        ready = stack.readyz()
    assert [answer.status for answer in refused] == [503, 503]
    assert all(answer.may_be_repeated for answer in refused)
    assert (ready.status, ready.body["checks"]["redis-state"]) == (503, "Redis refuses the password")

    def asked_anew() -> int:
        answers.append(stack.webs[1].predict(client.secret, f"after it, {len(answers)}"))
        return answers[-1].status

    until(asked_anew, lambda status: status == 200, within_s=90)
    assert_charged_exactly(stack, client, answers)


def test_without_the_cache_redis_calls_are_computed_anew(stack: Stack, client: Client) -> None:
    first, second = stack.webs
    text = "The answer to this is in the cache."
    calls = [first.predict(client.secret, text), second.predict(client.secret, text)]
    assert [answer.headers["x-cache"] for answer in calls] == ["MISS", "HIT"]
    stack.cache.stop()
    try:
        with Load(stack.webs, client.secret, about="stop the cache") as load:
            # What lies in the memory of a process is still a hit there; of what it never saw there is no trace.
            until(load.statuses, lambda seen: seen.total() >= 40)
        ready = stack.readyz()
    finally:
        stack.cache.start()
    assert_none_failed(load)
    assert {answer.headers["x-cache"] for answer in load.answers.values() if answer.status == 200} == {"MISS"}
    assert ready.status == 200
    assert ready.body["checks"]["redis-cache"] == "Redis does not answer"
    assert_right(load.answers)

    def shared() -> list[Answer]:
        again = f"back again {len(calls)}"
        calls.extend(web.predict(client.secret, again) for web in stack.webs)
        return calls[-2:]

    until(shared, lambda pair: pair[1].headers["x-cache"] == "HIT")
    assert {answer.status for answer in calls} == {200}
    assert_charged_exactly(stack, client, calls + list(load.answers.values()))


@pytest.mark.walk
def test_equal_calls_of_several_web_processes_are_computed_once(stack: Stack, client: Client) -> None:
    texts = [f"Asked of all processes at once, number {number}." for number in range(4)]
    calls = [(web, text) for text in texts for web in stack.webs for _ in range(3)]
    free = stack.shell("remaining", secret=client.secret)["concurrent"]
    processes = stack.gpu_worker.tree()
    with ThreadPoolExecutor(len(calls)) as pool:
        for process in processes:
            process.suspend()
        try:
            asked = [pool.submit(web.predict, client.secret, text) for web, text in calls]
            # Every call is admitted and waits before the first one can be answered.
            until(
                lambda: stack.shell("remaining", secret=client.secret)["concurrent"],
                lambda left: left == free - len(calls),
            )
        finally:
            for process in processes:
                process.resume()
        answers = [one.result() for one in asked]
    assert [answer.status for answer in answers] == [200] * len(calls), [answer.text for answer in answers]
    computed = [text for (_, text), answer in zip(calls, answers, strict=True) if answer.headers["x-cache"] == "MISS"]
    assert sorted(computed) == texts
    assert_charged_exactly(stack, client, answers)


def test_without_sql_known_callers_are_answered_and_others_come_again(
    stack: Stack, client: Client, new_client: Callable[[], Client]
) -> None:
    stranger = new_client()
    first = stack.webs[0]
    calls = [first.predict(client.secret, "before SQL went away")]
    with stack.without_database():
        known = first.predict(client.secret, "a new text while SQL is away")
        unknown = first.predict(stranger.secret, "from a key that no process has parsed")
        ready = first.get("/readyz")
    assert known.status == 200
    assert unknown.may_be_repeated, unknown
    assert "Traceback" not in unknown.text
    assert unknown.body["title"] == "Temporarily unavailable"
    assert ready.status == 503
    assert ready.body["checks"]["sql"] == "SQL does not answer"
    stack.wait_until_ready()
    calls += [known, first.predict(client.secret, "SQL is back")]
    assert first.predict(stranger.secret, "SQL is back").status == 200
    assert_charged_exactly(stack, client, calls)


def test_without_a_worker_calls_get_503_when_their_time_is_over_and_are_not_charged(
    stack: Stack, client: Client
) -> None:
    web = stack.webs[1]
    assert web.predict(client.secret, "a worker is there").status == 200
    stack.gpu_worker.terminate()
    try:
        stack.gpu_worker.wait()
        with Load([web], client.secret, clients=4, about="no worker", timeout_s=3.0) as load:
            until(load.statuses, lambda seen: seen.total() >= 4)
        ready = stack.readyz()
        left = stack.shell("remaining", secret=client.secret)
    finally:
        stack.gpu_worker.start()
    assert load.statuses().keys() == {503}
    assert_success_or_come_again(load)
    assert {answer.body["title"] for answer in load.answers.values()} == {"No answer in time"}
    assert left["concurrent"] == 500  # Given back at once, not when the hold ends.
    assert ready.status == 503
    assert ready.body["checks"]["gpu-worker"] == "no worker gives a sign of life"
    stack.wait_until_ready()
    # What waited in the queue meanwhile is passed over, because no call waits for it any more.
    until(lambda: stack.shell("queue_depths"), lambda depths: depths["gpu"] == 0)
    settle_down(0.5)
    ledger = stack.shell("ledger", tenant_id=client.tenant_id)
    again = web.predict(client.secret, "a worker is back")
    assert again.status == 200
    assert ledger["records"] <= 1
    assert stack.shell("remaining", secret=client.secret)["included"] == 1_000_000 - 2 * again.body["usage"]["units"]


def test_a_web_process_that_is_told_to_stop_answers_what_it_has_begun(stack: Stack, client: Client) -> None:
    web, process = stack.webs[0], stack.processes["web-0"]
    assert web.predict(client.secret, "a worker is there").status == 200
    worker = stack.gpu_worker.tree()
    counted = stack.shell("answered_calls")
    with ThreadPoolExecutor(8) as pool:
        for one in worker:
            one.suspend()  # So that the calls are surely under way, and have no answer yet, when the word comes.
        try:
            calls = [pool.submit(web.predict, client.secret, f"in flight {number}") for number in range(8)]
            until(lambda: stack.shell("remaining", secret=client.secret)["concurrent"], lambda left: left == 500 - 8)
            process.terminate()
            until(lambda: web.get("/livez").status, lambda status: status == 0)
        finally:
            for one in worker:
                one.resume()
        answers = [call.result() for call in calls]
    ended = process.wait()
    told = stack.shell("answered_calls") - counted
    process.start()
    assert [answer.status for answer in answers] == [200] * 8, answers
    assert ended == 0
    assert told >= 8, "what it counted in its last second is told, too"
    stack.wait_until_ready()


def test_a_grpc_process_that_is_told_to_stop_answers_what_it_has_begun(stack: Stack, client: Client) -> None:
    process = stack.processes["grpc"]
    worker = stack.gpu_worker.tree()
    texts = [f"in flight {number}" for number in range(8)]
    with Grpc(stack.grpc_target, secret=client.secret) as grpc, ThreadPoolExecutor(8) as pool:
        # The first call waits until the process is there.
        warm = grpc.predict(model_name="sentiment", text="a worker is there", wait_for_ready=True)
        counted = stack.shell("answered_calls")
        for one in worker:
            one.suspend()
        try:
            calls = [pool.submit(grpc.predict, model_name="sentiment", text=text) for text in texts]
            stream = grpc.stream(iter([pb.PredictRequest(model_name="sentiment", text="in a stream")]))
            until(lambda: stack.shell("remaining", secret=client.secret)["concurrent"], lambda left: left == 500 - 9)
            process.terminate()
            until(lambda: listens(stack.grpc_target), lambda open_: not open_)
        finally:
            for one in worker:
                one.resume()
        answers = [call.result().message for call in calls]
        (streamed,) = list(stream)
    ended = process.wait()
    told = stack.shell("answered_calls") - counted
    process.start()
    assert [len(answer.predictions) for answer in (warm.message, *answers, streamed)] == [2] * 10
    assert ended == 0
    assert told >= 9, "what it counted in its last second is told, too"
    paid = until(
        lambda: stack.shell("ledger", tenant_id=client.tenant_id),
        lambda ledger: ledger["day_units"] == 100,
    )
    assert paid["day_calls"] == 10


def test_a_killed_grpc_process_comes_back_and_charges_only_what_it_answered(stack: Stack, client: Client) -> None:
    process = stack.processes["grpc"]
    with Grpc(stack.grpc_target, secret=client.secret) as grpc:
        grpc.predict(model_name="sentiment", text="before", wait_for_ready=True)
        starts = process.starts
        process.kill()
        until(lambda: process.starts, lambda now: now > starts)
        # Its client finds the new process by itself, on the same channel.
        grpc.predict(model_name="sentiment", text="after", wait_for_ready=True)
    left = until(
        lambda: stack.shell("ledger", tenant_id=client.tenant_id), lambda ledger: ledger["day_units"] == 20, within_s=60
    )
    assert left["day_calls"] == 2


def test_a_gpu_worker_that_is_told_to_stop_answers_its_batch(stack: Stack, client: Client) -> None:
    web = stack.webs[0]
    assert web.predict(client.secret, "a worker is there").status == 200
    (worker,) = stack.gpu_worker.tree()
    long = "It took a while to come to like it, and then to see what it is good for. " * 12
    requests = [{"model": "sentiment", "input": f"{number}: {long}"} for number in range(48)]
    with ThreadPoolExecutor(1) as pool:
        used = worker.cpu_times().user
        call = pool.submit(web.batch_predict, client.secret, requests)
        until(lambda: worker.cpu_times().user, lambda now: now >= used + 0.3)
        assert not call.done()
        stack.gpu_worker.terminate()
        ended = stack.gpu_worker.wait()
        answer = call.result()
    stack.gpu_worker.start()
    assert ended == 0
    assert answer.status == 200, answer
    labels = [response.get("predictions", [{}])[0].get("label") for response in answer.body["responses"]]
    assert labels.count(None) == 0
    stack.wait_until_ready()


@pytest.mark.parametrize("name", ["jobs-worker", "beat"])
def test_jobs_worker_and_beat_end_in_good_order_and_the_ledger_goes_on(stack: Stack, client: Client, name: str) -> None:
    process: Process = stack.processes[name]
    process.terminate()
    ended = process.wait()
    answer = stack.webs[0].predict(client.secret, f"while {name} is away")
    process.start()
    assert ended == 0, process.text()[-2000:]
    assert_charged_exactly(stack, client, [answer])
