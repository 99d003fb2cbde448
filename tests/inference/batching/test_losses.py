"""A batch that has no reply is sent again, then input by input; whoever is charged is answered."""

import pytest

from inference.batching.losses import MIN_GIVE_UP_S, MIN_RESEND_S
from inference.batching.messages import TOO_LATE
from inference.fleet.workers import Capacity
from inference.types import Priority
from mlplatform.lib import event_loop
from mlplatform.lib.errors import ErrorKind, PlatformError
from tests.inference.batching.conftest import Make
from tests.inference.batching.wire import MODEL, WAIT_S, Wire, fails_as_unavailable, item, outcome, payloads, walk


def test_a_lost_batch_is_sent_once_more_and_its_second_answer_is_ignored(
    make: Make, wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    batcher = make()
    work = item("a")
    batcher.submit([(MODEL, [work])])
    first = wire.next()
    wire.settle_down()
    assert wire.sent.empty()
    walk(monkeypatch, MIN_RESEND_S)
    again = wire.next()
    assert again == first, "the same holds, so that it is charged once"
    wire.answer(again)
    assert outcome(work) == b"a"
    wire.answer(first, results=[b"another"])
    wire.settle_down()
    assert outcome(work) == b"a"
    batcher.submit([(MODEL, [item("b")])])
    assert payloads(wire.next()) == ["b"]


def test_a_batch_that_is_lost_twice_is_given_up(make: Make, wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    batcher = make()
    work = item("a")
    batcher.submit([(MODEL, [work])])
    wire.next()
    walk(monkeypatch, MIN_RESEND_S)
    wire.next()
    assert wire.idle
    walk(monkeypatch, MIN_GIVE_UP_S)
    assert fails_as_unavailable(work)
    assert wire.idle, "it is sent twice, not thrice"
    batcher.submit([(MODEL, [item("b")])])
    assert payloads(wire.next()) == ["b"], "what was given up occupies no worker"


def test_a_second_sending_that_fails_leaves_the_first_its_chance(
    make: Make, wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = item("a")
    make().submit([(MODEL, [work])])
    first = wire.next()
    wire.broken = True
    walk(monkeypatch, MIN_RESEND_S)
    wire.settle_down()
    assert work.error is None
    wire.answer(first)
    assert outcome(work) == b"a"


def test_a_batch_that_everybody_left_frees_its_worker(make: Make, wire: Wire) -> None:
    batcher = make()
    work = item("a")
    batcher.submit([(MODEL, [work])])
    wire.next()
    work.leave()
    batcher.submit([(MODEL, [item("b")])])
    assert payloads(wire.next()) == ["b"]


def test_an_input_that_is_lost_with_every_batch_fails_alone(
    make: Make, wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It kills its worker each time. Its neighbours are answered once each is sent by itself."""
    batcher = make()
    works = {name: item(name) for name in "abcd"}
    batcher.submit([(MODEL, [item("first")])])
    first = wire.next()
    batcher.submit([(MODEL, list(works.values()))])
    wire.answer(first)
    assert payloads(wire.next()) == ["a", "b", "c", "d"]
    past = 0.0

    def later(seconds: float) -> None:
        nonlocal past
        past += seconds
        walk(monkeypatch, seconds)

    later(MIN_RESEND_S)
    assert payloads(wire.next()) == ["a", "b", "c", "d"], "once more as it was: the worker may just have been restarted"
    later(MIN_GIVE_UP_S)
    alone = sorted((wire.next() for _ in range(4)), key=payloads)
    assert [payloads(each) for each in alone] == [["a"], ["b"], ["c"], ["d"]]
    for message in alone[1:]:
        wire.answer(message)
    assert [outcome(works[name]) for name in "bcd"] == [b"b", b"c", b"d"]
    wire.settle_down()
    later(MIN_GIVE_UP_S)
    assert fails_as_unavailable(works["a"])
    assert wire.idle


def test_a_batch_that_everybody_leaves_while_it_is_split_makes_way(make: Make, wire: Wire) -> None:
    batcher = make()
    works = [item(name) for name in "ab"]
    batcher.submit([(MODEL, works)])
    wire.next()
    (sent,) = batcher._pools.in_flight()
    batcher.submit([(MODEL, [item("next")])])
    wire.settle_down()

    def leave_and_split() -> None:
        """In one turn of the loop, which would find a moment later that they left."""
        for work in works:
            work.leave()
        batcher._split(sent)

    event_loop.call(leave_and_split)
    assert payloads(wire.next()) == ["next"]


def test_a_late_reply_to_a_batch_that_was_split_answers_everybody(
    make: Make, wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its worker was slow and not dead: it has settled the holds, so its answer must be given."""
    batcher = make()
    works = [item(name) for name in "ab"]
    batcher.submit([(MODEL, works)])
    whole = wire.next()
    walk(monkeypatch, MIN_RESEND_S)
    wire.next()
    walk(monkeypatch, MIN_GIVE_UP_S)
    alone = [wire.next(), wire.next()]
    assert len({whole.batch_id, *(each.batch_id for each in alone)}) == 3
    wire.answer(whole)
    assert [outcome(work) for work in works] == [b"a", b"b"]
    wire.settle_down()
    assert not batcher._pools.in_flight(), "nobody waits for them any more"
    assert not batcher._given_up


def test_what_waits_in_the_broker_is_late_and_not_lost(make: Make, wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    batcher = make()
    monkeypatch.setattr(wire, "capacity", lambda _: Capacity(1, 20, 1.0))
    batcher.submit([(MODEL, [item("a")])])
    wire.next()
    wire.settle_down()
    wire.settle_down()
    walk(monkeypatch, 2 * MIN_RESEND_S)
    assert wire.idle
    walk(monkeypatch, 20.0)
    assert payloads(wire.next()) == ["a"]


def test_a_batch_past_its_deadline_ends_though_nobody_says_that_he_left(
    make: Make, wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A shadow has no caller; workers skip it without a reply."""
    batcher = make()
    shadow = item("shadow", priority=Priority.BACKGROUND)
    batcher.submit([(MODEL, [shadow])])
    wire.next()
    walk(monkeypatch, WAIT_S + MIN_RESEND_S)
    found = outcome(shadow)
    assert isinstance(found, PlatformError)
    assert found.kind is ErrorKind.TIMEOUT
    assert wire.idle, "nor is it sent once more"


def test_a_batch_that_came_too_late_frees_its_place_at_once(make: Make, wire: Wire) -> None:
    batcher = make()
    late, next_one = item("late"), item("next")
    batcher.submit([(MODEL, [late])])
    message = wire.next()
    batcher.submit([(MODEL, [next_one])])
    wire.answer(message, error=TOO_LATE, results=[None])
    assert fails_as_unavailable(late)
    wire.answer(wire.next())
    assert outcome(next_one) == b"next"


def test_one_copy_that_came_too_late_leaves_the_other_its_answer(
    make: Make, wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    batcher = make()
    work = item("a")
    batcher.submit([(MODEL, [work])])
    message = wire.next()
    walk(monkeypatch, MIN_RESEND_S)
    wire.next()
    wire.answer(message, error=TOO_LATE, results=[None])
    wire.settle_down()
    assert not work.abandoned
    wire.answer(message)
    assert outcome(work) == b"a"
