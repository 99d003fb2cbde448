"""Staff enter whether a tenant lets its sampled calls be kept whole."""

import pytest

from inference.deprecations.samples import store as samples
from inference.models import CallSample
from mlplatform.lib import clock
from tests.conftest import Customer
from tests.support import staff

PAGE = "/admin/tenants/tenant/{}/{}/"


def kept(customer: Customer) -> CallSample:
    """A whole sample of a tenant that opted in."""
    samples.opt_in(tenant=customer.tenant)
    return CallSample.objects.create(
        tenant=customer.tenant,
        kind="api_version",
        subject="v1",
        api_version="v1",
        model="sentiment",
        key_uid=customer.key.uid,
        body={"model": "sentiment", "input": "Ms. Miller"},
        answer={"prediction": "positive", "confidence": 0.9},
        whole=True,
        called_at=clock.now(),
    )


@pytest.mark.django_db
def test_opting_in_asks_first(acme: Customer) -> None:
    admin = staff.signed_in(staff.superuser())
    page = PAGE.format(acme.tenant.pk, "keep_calls")
    assert b"agreed that sampled calls" in admin.get(page).content
    acme.tenant.refresh_from_db()
    assert not acme.tenant.keeps_calls
    answer = admin.post(page, {"confirmed": "yes"}, follow=True)
    assert any("kept whole" in message for message in staff.said(answer))
    acme.tenant.refresh_from_db()
    assert acme.tenant.keeps_calls


@pytest.mark.django_db
def test_opting_out_redacts_at_once(acme: Customer, globex: Customer) -> None:
    mine, theirs = kept(acme), kept(globex)
    admin = staff.signed_in(staff.superuser())
    admin.post(PAGE.format(acme.tenant.pk, "redact_calls"), {"confirmed": "yes"})
    mine.refresh_from_db()
    theirs.refresh_from_db()
    assert not mine.whole
    assert "Miller" not in str(mine.body)
    assert theirs.whole
    assert "Miller" in str(theirs.body)


@pytest.mark.django_db
def test_who_may_only_look_changes_nothing(acme: Customer) -> None:
    sample = kept(acme)
    admin = staff.signed_in(staff.with_role("billing"))
    assert admin.post(PAGE.format(acme.tenant.pk, "redact_calls"), {"confirmed": "yes"}).status_code in {302, 403}
    sample.refresh_from_db()
    assert sample.whole
    acme.tenant.refresh_from_db()
    assert acme.tenant.keeps_calls
