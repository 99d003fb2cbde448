"""Which API version answers: the call's own words must be known and agree; else the key's pin, else the default."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlplatform.lib.errors import ErrorKind, PlatformError
from tenants.api_versions import Selectors, select

KNOWN = ("v1", "v1.1", "v2")
WORDS = st.sampled_from(["", *KNOWN, "v3", "V2", "2", " v2"])
KNOWN_OR_NONE = st.sampled_from(["", *KNOWN])


@given(path=WORDS, header=WORDS, query=WORDS, pin=KNOWN_OR_NONE, default=st.sampled_from(KNOWN))
def test_the_rules(path: str, header: str, query: str, pin: str, default: str) -> None:
    selectors = Selectors(path=path, header=header, query=query, pin=pin)
    said = {word for word in (path, header, query) if word}
    if said - set(KNOWN):
        expected: object = ErrorKind.UNSUPPORTED_API_VERSION
    elif len(said) > 1:
        expected = ErrorKind.MALFORMED
    else:
        expected = next(iter(said), "") or pin or default
    try:
        answer: object = select(selectors, default=default, known=KNOWN)
    except PlatformError as error:
        answer = error.kind
    assert answer == expected


def test_an_unknown_one_is_named_beside_those_that_are_supported() -> None:
    with pytest.raises(PlatformError) as caught:
        select(Selectors(query="v9" + "9" * 1000), default="v2", known=KNOWN)
    assert caught.value.detail.startswith("Unsupported API version: v9")
    assert "Supported: v1, v1.1, v2" in caught.value.detail
    assert len(caught.value.detail) < 200
    assert caught.value.extra == {"supported": ["v1", "v1.1", "v2"]}


def test_two_that_disagree_are_both_named() -> None:
    with pytest.raises(PlatformError) as caught:
        select(Selectors(path="v1", query="v2"), default="v2", known=KNOWN)
    assert "path v1, version query v2" in caught.value.detail


@pytest.mark.parametrize("selectors", [Selectors(pin="v0"), Selectors()])
def test_a_pin_or_default_that_no_longer_exists_is_no_silent_change(selectors: Selectors) -> None:
    with pytest.raises(PlatformError) as caught:
        select(selectors, default="v0", known=KNOWN)
    assert caught.value.kind is ErrorKind.UNSUPPORTED_API_VERSION
