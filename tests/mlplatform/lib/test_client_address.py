"""A client cannot choose its own address: only what trusted proxies appended counts."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlplatform.lib.client_address import client_address

PEER = "10.0.0.1"
UNKNOWN = "0.0.0.0"  # noqa: S104 - no socket binds to it


@pytest.mark.parametrize(
    ("forwarded", "proxies", "expected"),
    [
        ("203.0.113.9", 0, PEER),
        ("203.0.113.9", 1, "203.0.113.9"),
        ("1.1.1.1, 203.0.113.9", 1, "203.0.113.9"),
        ("1.1.1.1, 203.0.113.9, 10.0.0.2", 2, "203.0.113.9"),
        ("203.0.113.9", 2, PEER),
        ("", 1, PEER),
        (" , ,", 1, PEER),
        ("evil", 1, PEER),
        ("203.0.113.9:4711", 1, PEER),
        ("2001:DB8:0:0::1", 1, "2001:db8::1"),
        ("203.0.113.9", -1, PEER),
    ],
)
def test_the_entry_of_the_outermost_trusted_proxy_counts(forwarded: str, proxies: int, expected: str) -> None:
    meta = {"REMOTE_ADDR": PEER, "HTTP_X_FORWARDED_FOR": forwarded}
    assert client_address(meta, trusted_proxies=proxies) == expected


def test_without_a_header_or_a_peer() -> None:
    assert client_address({"REMOTE_ADDR": PEER}, trusted_proxies=3) == PEER
    assert client_address({}, trusted_proxies=1) == UNKNOWN
    assert client_address({"REMOTE_ADDR": ""}, trusted_proxies=0) == UNKNOWN


@given(st.lists(st.sampled_from(["127.0.0.1", "::1", "8.8.8.8"]) | st.text(max_size=8), max_size=5), st.integers(1, 3))
def test_whatever_a_client_writes_the_proxies_word_stands(written: list[str], proxies: int) -> None:
    """The client writes what it likes; then each trusted proxy appends the address that it saw."""
    seen = [f"198.51.100.{number}" for number in range(proxies)]
    meta = {"REMOTE_ADDR": PEER, "HTTP_X_FORWARDED_FOR": ",".join([*written, *seen])}
    assert client_address(meta, trusted_proxies=proxies) == seen[0]
