"""Who is behind a change that a key makes: no person is signed in who could be named."""

from collections.abc import Iterator
from contextlib import contextmanager

from auditlog.context import set_extra_data
from django.conf import settings

from mlplatform.lib.client_address import client_address
from tenants.authentication import Caller
from tenants.http.call import RestCall


@contextmanager
def audited(call: RestCall, caller: Caller) -> Iterator[None]:
    """Names the key and its address on every audit entry of the block."""
    by = {"api_key": caller.key_uid, "api_key_name": caller.key_name, "tenant": caller.tenant_slug}
    address = client_address(call.META, trusted_proxies=settings.TRUSTED_PROXIES)
    with set_extra_data({"additional_data": by, "remote_addr": address or None}):
        yield
