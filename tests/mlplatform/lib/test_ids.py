"""Time-ordered ids, checksums and the request ids that a caller may choose."""

import time
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlplatform.lib import ids


def test_uuid7_is_what_the_standard_says() -> None:
    before = time.time_ns() // 1_000_000
    value = ids.uuid7()
    after = time.time_ns() // 1_000_000
    assert value.version == 7
    assert value.variant == uuid.RFC_4122
    assert before <= value.int >> 80 <= after


def test_ids_sort_by_the_time_they_were_made(monkeypatch: pytest.MonkeyPatch) -> None:
    moments = [1_000_000 * (1_700_000_000_000 + step) for step in range(200)]
    made = []
    for moment in moments:
        monkeypatch.setattr(time, "time_ns", lambda moment=moment: moment)
        made.append(ids.hex_id())
    assert made == sorted(made)
    assert len({value[13:] for value in made}) == len(made), "beside the time, the bits are random"
    assert all(len(value) == 32 for value in made)


@given(st.text(st.sampled_from(ids.BASE62 + "_"), min_size=1, max_size=40), st.data())
def test_any_other_character_changes_the_checksum(text: str, data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(text) - 1))
    other = data.draw(st.sampled_from(ids.BASE62).filter(lambda character: character != text[place]))
    checksum = ids.base62_checksum(text, 6)
    assert len(checksum) == 6
    assert set(checksum) <= set(ids.BASE62)
    assert ids.base62_checksum(text[:place] + other + text[place + 1 :], 6) != checksum


def test_tokens_are_random_and_of_the_alphabet() -> None:
    tokens = {ids.base62_token(22) for _ in range(1000)}
    assert len(tokens) == 1000
    assert set("".join(tokens)) == set(ids.BASE62)


@pytest.mark.parametrize("offered", ["a", "req-1", "A.b_c:d-9", "x" * 128])
def test_a_sane_request_id_is_kept(offered: str) -> None:
    assert ids.request_id(offered) == offered


@pytest.mark.parametrize(
    "offered", [None, "", " a", "a b", "-a", "a\n", "a\r\nSet-Cookie: x", "é", "٣", "x" * 129, "a/b"]
)
def test_any_other_request_id_is_replaced(offered: str | None) -> None:
    made = ids.request_id(offered)
    assert made != offered
    assert uuid.UUID(made).version == 7
