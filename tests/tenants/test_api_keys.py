"""Keys: issued once, rotated with an overlap, revoked for good; the secret is nowhere but in the caller's hands."""

import datetime as dt
import hmac
import logging
import re
from typing import Any

import pytest
from auditlog.models import LogEntry
from django.db import connection
from hypothesis import given
from hypothesis import strategies as st

from mlplatform.lib import clock, ids, redis
from mlplatform.lib.errors import ErrorKind, PlatformError
from tenants import api_keys, authentication
from tenants.models import ApiKey, ApiKeySecret
from tests.conftest import Customer

HERE = "192.0.2.1"
BODY = "mlp_live_" + "aZ09" * 5 + "xy"
SECRET = f"{BODY}_{ids.base62_checksum(BODY, 6)}"


def refused(kind: ErrorKind, field: str | None = None) -> "pytest.RaisesExc[PlatformError]":
    return pytest.raises(PlatformError, check=lambda error: (error.kind, error.field) == (kind, field))


def whole_database() -> str:
    """Every value of every row, as text."""
    texts: list[str] = []
    with connection.cursor() as cursor:
        for table in connection.introspection.table_names(cursor):
            cursor.execute(f'SELECT * FROM "{table}"')  # noqa: S608 - the names are the database's own
            texts.extend(str(value) for row in cursor.fetchall() for value in row)
    return "\n".join(texts)


def whole_redis() -> str:
    client = redis.state()
    keys = list(client.scan_iter())
    return repr([*keys, *(client.dump(key) for key in keys)])


def test_a_secret_has_the_published_format_and_names_its_key(acme: Customer) -> None:
    assert re.fullmatch(r"mlp_live_[0-9A-Za-z]{22}_[0-9A-Za-z]{6}", acme.secret)
    test_key = api_keys.issue(tenant=acme.tenant, name="Test", mode="test")
    assert test_key.secret.startswith("mlp_test_")
    row = ApiKeySecret.objects.get(key=test_key.key)
    assert test_key.secret.startswith(row.prefix)
    assert test_key.secret.endswith(row.last_four)
    assert len(row.prefix) + len(row.last_four) < len(test_key.secret) - 15, (
        "what is kept for people gives nothing away"
    )
    assert authentication.authenticate(test_key.secret, address=HERE).key_uid == test_key.key.uid


def test_the_secret_is_stored_nowhere(acme: Customer, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        issued = api_keys.issue(tenant=acme.tenant, name="Canary", created_by=acme.owner)
        rotated = api_keys.rotate(key=issued.key)
        caller = authentication.authenticate(issued.secret, address=HERE)
        api_keys.revoke(key=issued.key)
        with refused(ErrorKind.UNAUTHENTICATED) as caught:
            authentication.authenticate(issued.secret, address=HERE, fresh=True)
    database, log = whole_database(), caplog.text
    assert "mlp_live_" in database, "the search sees what is kept for people"
    for secret in (issued.secret, rotated.secret):
        for part in (secret, secret[9:31]):
            assert part not in database
            assert part not in whole_redis()
            assert part not in log
            assert part not in repr((issued, rotated, caller, caught.value, vars(caught.value)))
        digest = api_keys.digest(secret)
        assert ApiKeySecret.objects.filter(sha256=digest).count() == 1
        assert not [entry for entry in LogEntry.objects.all() if digest in str(entry.changes)]
        assert digest not in log


@given(st.data())
def test_any_mistyped_character_is_seen_without_a_look_up(data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(SECRET) - 1))
    character = data.draw(st.characters().filter(lambda character: character != SECRET[place]))
    assert_malformed_without_sql(SECRET[:place] + character + SECRET[place + 1 :])


@given(st.integers(0, len(SECRET)), st.integers(0, len(SECRET)), st.characters())
def test_any_cut_or_insertion_is_seen_without_a_look_up(start: int, end: int, character: str) -> None:
    if start < end:
        assert_malformed_without_sql(SECRET[:start] + SECRET[end:])
    assert_malformed_without_sql(SECRET[:start] + character + SECRET[start:])


def assert_malformed_without_sql(secret: str) -> None:
    """This test has no database mark, so that a query fails it."""
    assert not api_keys.well_formed(secret)
    with refused(ErrorKind.UNAUTHENTICATED) as caught:
        authentication.authenticate(secret, address=HERE)
    assert "not an API key of this service" in caught.value.detail
    assert authentication.cached(secret) is None


def test_an_unknown_secret_with_a_good_checksum_is_refused(acme: Customer) -> None:
    assert api_keys.well_formed(SECRET)
    with refused(ErrorKind.UNAUTHENTICATED) as caught:
        authentication.authenticate(SECRET, address=HERE)
    assert caught.value.detail == "No API key has this secret."


def test_the_last_word_is_a_comparison_in_constant_time(acme: Customer, monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[tuple[str, str]] = []

    def compare(first: str, second: str) -> bool:
        compared.append((first, second))
        return False

    monkeypatch.setattr(hmac, "compare_digest", compare)
    with refused(ErrorKind.UNAUTHENTICATED):
        authentication.authenticate(acme.secret, address=HERE)
    assert compared == [(api_keys.digest(acme.secret), api_keys.digest(acme.secret))]


def test_a_rotation_lets_both_secrets_work_until_the_overlap_ends(
    acme: Customer, monkeypatch: pytest.MonkeyPatch
) -> None:
    rotated = api_keys.rotate(key=acme.key, overlap=dt.timedelta(hours=2))
    assert rotated.key.pk == acme.key.pk
    for secret in (acme.secret, rotated.secret):
        assert authentication.authenticate(secret, address=HERE, fresh=True).key_uid == acme.key.uid
    later = clock.now() + dt.timedelta(hours=2, seconds=1)
    monkeypatch.setattr(clock, "now", lambda: later)
    with refused(ErrorKind.UNAUTHENTICATED):
        authentication.authenticate(acme.secret, address=HERE)
    assert authentication.authenticate(rotated.secret, address=HERE).key_uid == acme.key.uid


def test_a_second_rotation_does_not_prolong_the_first_secret(acme: Customer) -> None:
    api_keys.rotate(key=acme.key, overlap=dt.timedelta(hours=1))
    end = ApiKeySecret.objects.get(sha256=api_keys.digest(acme.secret)).expires_at
    api_keys.rotate(key=acme.key, overlap=dt.timedelta(days=7))
    assert ApiKeySecret.objects.get(sha256=api_keys.digest(acme.secret)).expires_at == end
    api_keys.rotate(key=acme.key, overlap=dt.timedelta(0))
    earlier = ApiKeySecret.objects.get(sha256=api_keys.digest(acme.secret)).expires_at
    assert end is not None
    assert earlier is not None
    assert earlier < end


def test_a_rotation_without_overlap_ends_the_old_secret_at_once(acme: Customer) -> None:
    authentication.authenticate(acme.secret, address=HERE)
    rotated = api_keys.rotate(key=acme.key, overlap=dt.timedelta(0))
    with refused(ErrorKind.UNAUTHENTICATED):
        authentication.authenticate(acme.secret, address=HERE, fresh=True)
    assert authentication.authenticate(rotated.secret, address=HERE)


@pytest.mark.parametrize("overlap", [dt.timedelta(seconds=-1), dt.timedelta(days=30, seconds=1)])
def test_an_overlap_out_of_range_changes_nothing(acme: Customer, overlap: dt.timedelta) -> None:
    with refused(ErrorKind.INVALID_INPUT, "overlap"):
        api_keys.rotate(key=acme.key, overlap=overlap)
    assert acme.key.secrets.count() == 1
    assert acme.key.secrets.get().expires_at is None


def test_a_revoked_key_is_refused_for_good_and_cannot_be_rotated(acme: Customer) -> None:
    api_keys.revoke(key=acme.key)
    revoked = ApiKey.objects.get(pk=acme.key.pk)
    api_keys.revoke(key=acme.key)
    again = ApiKey.objects.get(pk=acme.key.pk)
    assert (again.revoked_at, again.version) == (revoked.revoked_at, revoked.version)
    with refused(ErrorKind.UNAUTHENTICATED):
        authentication.authenticate(acme.secret, address=HERE)
    with refused(ErrorKind.CONFLICT):
        api_keys.rotate(key=acme.key)
    assert acme.key.secrets.count() == 1


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"name": " "}, "name"),
        ({"name": "a\x00b"}, "name"),
        ({"name": "n" * 101}, "name"),
        ({"mode": "production"}, "mode"),
        ({"scopes": []}, "scopes"),
        ({"scopes": ["predict", "everything"]}, "scopes"),
        ({"allowed_cidrs": ["10.0.0.0/8", "10.0.0.1/8"]}, "allowed_cidrs"),
        ({"allowed_cidrs": ["anywhere"]}, "allowed_cidrs"),
        ({"pinned_api_version": "v9"}, "pinned_api_version"),
        ({"expires_at": dt.datetime(2020, 1, 1, tzinfo=dt.UTC)}, "expires_at"),
    ],
)
def test_what_cannot_be_issued_names_its_field_and_leaves_no_row(
    acme: Customer, fields: dict[str, Any], field: str
) -> None:
    before = (ApiKey.objects.count(), ApiKeySecret.objects.count(), LogEntry.objects.count())
    given: dict[str, Any] = {"tenant": acme.tenant, "name": "New", **fields}
    with refused(ErrorKind.INVALID_INPUT, field):
        api_keys.issue(**given)
    assert (ApiKey.objects.count(), ApiKeySecret.objects.count(), LogEntry.objects.count()) == before


def test_what_is_issued_is_kept_in_canonical_form(acme: Customer) -> None:
    issued = api_keys.issue(
        tenant=acme.tenant,
        name="  Line 7 ",
        scopes=["batch", "predict", "batch"],
        allowed_cidrs=[" 2001:DB8::/32", "203.0.113.7"],
        allowed_models=["sentiment"],
        pinned_api_version="v1.1",
    )
    caller = authentication.authenticate(issued.secret, address="203.0.113.7")
    assert issued.key.name == caller.key_name == "Line 7"
    assert issued.key.scopes == ["predict", "batch"]
    assert issued.key.allowed_cidrs == ["2001:db8::/32", "203.0.113.7/32"]
    assert caller.scopes == {"predict", "batch"}
    assert caller.may_use("sentiment")
    assert not caller.may_use("digits")
    assert caller.pinned_api_version == "v1.1"
