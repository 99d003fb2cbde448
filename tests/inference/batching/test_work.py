"""One input, many who wait for it."""

from inference.batching.messages import (
    BatchMessage,
    BatchReply,
    ItemMessage,
    decode_batch,
    decode_reply,
    encode_batch,
    encode_reply,
)
from inference.batching.work import Hold, WorkItem
from mlplatform.lib.errors import unavailable


def work(deadline: float = 0.0) -> WorkItem:
    return WorkItem(payload=b"p", cache_key=b"k", hold=Hold("h", 1, 1), deadline=deadline)


def is_abandoned(item: WorkItem) -> bool:
    """Asked anew each time, for a type checker takes a property to stay as it was."""
    return item.abandoned


def test_it_is_abandoned_only_when_everybody_left() -> None:
    item = work(deadline=1.0)
    assert item.join(5.0)
    assert item.deadline == 5.0
    item.leave()
    assert not is_abandoned(item)
    item.leave()
    assert is_abandoned(item)
    assert not item.join(9.0), "nobody computes it any more"
    assert item.deadline == 5.0


def test_the_first_outcome_counts() -> None:
    item, other = work(), work()
    item.succeed(b"first")
    item.succeed(b"second")
    item.fail(unavailable("too late"))
    assert (item.scores, item.error) == (b"first", None)
    error = unavailable("no")
    other.fail(error)
    other.succeed(b"too late")
    assert (other.scores, other.error) == (None, error)
    assert item.join(0.0), "an answer that is there can still be shared"
    assert not other.join(0.0), "a failure is not shared with those who come later"


def test_what_waits_is_told_once_and_what_comes_later_at_once() -> None:
    item = work()
    told: list[WorkItem] = []
    item.when_done(told.append)
    assert (told, item.is_done) == ([], False)
    item.succeed(b"s")
    item.fail(unavailable("too late"))
    assert told == [item]
    item.when_done(told.append)
    assert told == [item, item]


def test_messages_come_back_as_they_were_sent() -> None:
    message = BatchMessage("b", 3, "ab", "reply:x", 1.5, 60, [ItemMessage(b"\xff\x00", b"", "h", 7, 63)])
    assert decode_batch(encode_batch(message)) == message
    reply = BatchReply(batch_id="b", worker="w", results=[b"\x00\xff", None], error="")
    assert decode_reply(encode_reply(reply)) == reply
