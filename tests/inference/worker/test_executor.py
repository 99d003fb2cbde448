"""One batch: whatever fails fails alone, and is found without trying every input by itself."""

import threading
from collections.abc import Sequence

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from inference.batching.messages import ItemMessage
from inference.runtimes.loading import CheckedRuntime
from inference.runtimes.protocol import Array, Input, Read, RuntimeSpec
from inference.types import REFUSE, TO_LIMIT, TextLength
from inference.worker import executor
from tests.support.tiny_model import POISON, TinyRuntime, WordRuntime, share_of


class Counting(TinyRuntime):
    """Counts how often it is asked."""

    calls = 0

    def forward(self, inputs: Sequence[Input]) -> Array:
        self.calls += 1
        return super().forward(inputs)


def runtime_of() -> tuple[Counting, CheckedRuntime]:
    spec = RuntimeSpec(
        name="tiny", version="1.0.0", runtime="text-classification", artefact=None, digest="", outputs=2,  # type: ignore[arg-type]
        input_schema={"kind": "text"}, max_batch_size=64, device="cpu",
    )  # fmt: skip
    go = threading.Event()
    go.set()
    counting = Counting(spec, go)
    return counting, CheckedRuntime(spec, counting)


def words_of(*, max_tokens: int) -> tuple[WordRuntime, CheckedRuntime]:
    counting, checked = runtime_of()
    words = WordRuntime(counting.spec, counting.go, max_tokens=max_tokens)
    return words, CheckedRuntime(checked.spec, words)


def items(*texts: str) -> list[ItemMessage]:
    return [ItemMessage(b"t" + text.encode(), b"", "", 1, 0) for text in texts]


@given(st.lists(st.text("ab", max_size=5), min_size=1, max_size=40), st.data())
def test_neighbours_of_poison_get_the_answers_they_get_without_it(texts: list[str], data: st.DataObject) -> None:
    bad = data.draw(st.sets(st.integers(0, len(texts) - 1), max_size=min(7, len(texts))))
    given_texts = [POISON if place in bad else text for place, text in enumerate(texts)]
    outcome = executor.compute(runtime_of()[1], items(*given_texts))
    assert set(outcome.problems) == bad
    for place, (text, scores) in enumerate(zip(given_texts, outcome.results, strict=True)):
        if place in bad:
            assert scores is None
            assert outcome.problems[place] == "ValueError: this input is poison"
        else:
            share = np.float32(share_of(text))
            assert scores == np.array([share, np.float32(1) - share], dtype="<f4").tobytes()


def test_one_bad_input_is_found_by_halving() -> None:
    counting, runtime = runtime_of()
    outcome = executor.compute(runtime, items(*["good"] * 40, POISON, *["good"] * 23))
    assert list(outcome.problems) == [40]
    assert counting.calls <= 1 + 2 * 6  # two for each halving of 64, not 64
    assert counting.computed == ["good"] * 63


def test_a_model_that_fails_on_everything_is_given_up() -> None:
    counting, runtime = runtime_of()
    outcome = executor.compute(runtime, items(*[POISON] * 64))
    assert outcome.results == [None] * 64
    assert sorted(outcome.problems) == list(range(64))
    assert outcome.error == "ValueError: this input is poison"
    assert counting.calls < 30


def test_a_tenant_with_nothing_but_bad_inputs_fails_alone() -> None:
    bad = items(*[POISON] * 10)
    neighbours = [ItemMessage(b"tgood", b"", "", 2, 0)] * 3
    outcome = executor.compute(runtime_of()[1], [*bad, *neighbours])
    assert outcome.error == ""
    assert sorted(outcome.problems) == list(range(10))
    assert all(scores is not None for scores in outcome.results[10:])


def test_bytes_that_are_no_input_fail_alone() -> None:
    strange = ItemMessage(b"?what", b"", "", 1, 0)
    outcome = executor.compute(runtime_of()[1], [*items("a"), strange, *items("bb")])
    assert [scores is None for scores in outcome.results] == [False, True, False]
    assert "ValueError" in outcome.problems[1]
    assert outcome.error == ""


def test_a_failure_before_any_input_is_that_of_all() -> None:
    outcome = executor.failed(items("a", "b"), LookupError("gone"))
    assert outcome.results == [None, None]
    assert outcome.error == "LookupError: gone"


LONG = "one two three four five six"


def may_be_cut(truncate: int, *texts: str, tenant_id: int = 1) -> list[ItemMessage]:
    return [ItemMessage(b"t" + text.encode(), b"", "", tenant_id, 0, truncate) for text in texts]


def test_a_text_that_is_too_long_is_refused_alone_and_one_that_may_be_is_cut() -> None:
    words, runtime = words_of(max_tokens=6)
    outcome = executor.compute(
        runtime, [*may_be_cut(REFUSE, "a", LONG, "b"), *may_be_cut(TO_LIMIT, LONG, "c"), *may_be_cut(4, LONG)]
    )
    assert [scores is None for scores in outcome.results] == [False, True, False, False, False, False]
    assert outcome.lengths == {1: TextLength(8, 6), 3: TextLength(8, 6), 5: TextLength(8, 4)}
    assert (outcome.problems, outcome.error) == ({}, "")
    assert words.computed == ["a", "b", "one two three four", "c", "one two"]


def test_refusals_break_no_model_and_halve_no_batch() -> None:
    words, runtime = words_of(max_tokens=6)
    refused = may_be_cut(REFUSE, *[LONG] * 20)
    outcome = executor.compute(runtime, refused)
    assert (outcome.results, outcome.problems, outcome.error) == ([None] * 20, {}, "")
    assert len(outcome.lengths) == 20
    assert words.computed == []
    outcome = executor.compute(runtime, [*refused, *may_be_cut(REFUSE, *["good"] * 3, tenant_id=2)])
    assert [scores is None for scores in outcome.results] == [True] * 20 + [False] * 3
    assert words.computed == ["good"] * 3


def test_what_cannot_be_read_fails_alone_however_much_there_is_of_it() -> None:
    class Strict(WordRuntime):
        def _read(self, text: str, truncate: int) -> Read:
            if not text:
                raise ValueError("A text has no tokens.")
            return super()._read(text, truncate)

    counting, checked = runtime_of()
    strict = Strict(counting.spec, counting.go, max_tokens=6)
    runtime = CheckedRuntime(checked.spec, strict)
    outcome = executor.compute(runtime, may_be_cut(REFUSE, *[""] * 10, "good", LONG))
    assert sorted(outcome.problems) == list(range(10))
    assert strict.computed == ["good"]
    assert (list(outcome.lengths), outcome.error) == ([11], "")


def test_a_broken_model_does_not_take_the_refusals_with_it() -> None:
    _, runtime = words_of(max_tokens=6)
    outcome = executor.compute(runtime, [*may_be_cut(REFUSE, *[POISON] * 10), *may_be_cut(REFUSE, LONG)])
    assert outcome.error == "ValueError: this input is poison"
    assert outcome.lengths == {10: TextLength(8, 6)}
    assert sorted(outcome.problems) == list(range(10))
