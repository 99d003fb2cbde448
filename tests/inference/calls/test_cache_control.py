"""What ``Cache-Control`` of a call means, and that no header is too strange to be read."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference.cache.store import Entry
from inference.calls import cache_control
from inference.types import CachePolicy
from mlplatform.lib import clock

ANEW = CachePolicy(read=False)


@pytest.mark.parametrize(
    ("header", "policy"),
    [
        ("", CachePolicy()),
        ("no-cache", ANEW),
        ("No-Cache", ANEW),
        (" no-store ", CachePolicy(read=False, write=False)),
        ("no-cache, no-store", CachePolicy(read=False, write=False)),
        ("max-age=60", CachePolicy(max_age_s=60)),
        ('max-age="60"', CachePolicy(max_age_s=60)),
        ("max-age = 60", CachePolicy(max_age_s=60)),
        ("max-age=60, max-age=5", CachePolicy(max_age_s=5)),
        ("max-age=99999999999999999999", CachePolicy(max_age_s=2**31)),
        ("max-age=0", CachePolicy(read=False, max_age_s=0)),
        ("max-age=soon", CachePolicy(read=False, max_age_s=0)),
        ("max-age=-1", CachePolicy(read=False, max_age_s=0)),
        ("max-age=٣", CachePolicy(read=False, max_age_s=0)),
        ("max-age", CachePolicy(read=False, max_age_s=0)),
        ("only-if-cached", CachePolicy(only_if_cached=True)),
        ("only-if-cached, max-age=9", CachePolicy(only_if_cached=True, max_age_s=9)),
        ("only-if-cached, no-cache", CachePolicy(read=False, only_if_cached=True)),
        ("max-stale=5, no-transform, ,", CachePolicy()),
    ],
)
def test_a_header_is_read(header: str, policy: CachePolicy) -> None:
    assert cache_control.policy(header) == policy


_PARTS = st.sampled_from(["no-cache", "no-store", "max-age=", "only-if-cached", ",", "=", "0", "17", '"', " "])


@given(st.one_of(st.text(max_size=60), st.lists(_PARTS, max_size=8).map("".join)))
def test_any_header_is_read_and_directives_only_take_away(header: str) -> None:
    policy = cache_control.policy(header)
    names = {part.partition("=")[0].strip().lower() for part in header.split(",")}
    assert policy.write is ("no-store" not in names)
    assert policy.only_if_cached is ("only-if-cached" in names)
    assert policy.read <= (not names & {"no-cache", "no-store"})
    assert (policy.max_age_s is None) is ("max-age" not in names)
    assert policy.max_age_s is None or 0 <= policy.max_age_s <= 2**31


@pytest.mark.parametrize(("age_s", "max_age_s", "fresh"), [(5, 5, True), (6, 5, False), (6, None, True), (0, 1, True)])
def test_an_answer_is_fresh_up_to_the_age_that_the_call_allows(age_s: int, max_age_s: int | None, fresh: bool) -> None:
    now = clock.now().timestamp()
    entry = Entry(scores=b"s", computed_at=now - age_s, expires_at=now + 60)
    assert CachePolicy(max_age_s=max_age_s).fresh(entry) is (entry if fresh else None)
    assert CachePolicy(max_age_s=max_age_s).fresh(None) is None
