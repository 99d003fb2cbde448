"""Scopes: only known ones can be issued, and a lacking one is named."""

import pytest

from mlplatform.lib.errors import ErrorKind, PlatformError
from tenants import scopes


def test_they_are_kept_in_order_and_once() -> None:
    assert scopes.validate(["usage:read", "predict", "usage:read"]) == ["predict", "usage:read"]
    assert scopes.validate(scopes.SCOPES) == list(scopes.SCOPES)
    assert set(scopes.DEFAULT_SCOPES) <= set(scopes.SCOPES)


def test_a_lacking_scope_is_named() -> None:
    scopes.require(frozenset({"predict"}), "predict")
    with pytest.raises(PlatformError) as caught:
        scopes.require(frozenset({"predict"}), "batch")
    assert caught.value.kind is ErrorKind.FORBIDDEN
    assert caught.value.extra == {"required_scope": "batch"}
