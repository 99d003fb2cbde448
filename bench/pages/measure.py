"""``python -m bench.pages.measure``: opens every page of the admin on the database of this environment, and prints JSON.

Asked for in this process, through all middleware: time of the product itself, without sockets and the browser.
"""

import gzip
import json
import math
import os
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from time import perf_counter, process_time
from typing import Any, Final

_TIMES: Final = 20
_PATIENCE_S: Final = 10.0
"""A slow page is opened less often, so that a run ends."""


def main(words: Sequence[str]) -> None:
    """Measure the pages whose names hold one of the words; all without words."""
    import django

    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "mlplatform.settings")
    django.setup()
    from django.conf import settings
    from django.test import Client
    from django.urls import get_resolver

    from bench.pages import addresses, world
    from mlplatform.lib import collector
    from tenants.models import User

    settings.ALLOWED_HOSTS = [*settings.ALLOWED_HOSTS, "testserver"]
    settings.SECURE_SSL_REDIRECT = False
    user = User.objects.get(email=world.STAFF)
    client = Client(raise_request_exception=False)
    client.force_login(user)
    # As in a web process, when every view is imported; else now and then a page waits for a collection of all that was loaded.
    list(get_resolver().url_patterns)
    collector.calm()
    found = [
        _measured(client, page)
        for page in addresses.pages(user)
        if not words or any(word in page.name for word in words)
    ]
    json.dump(found, sys.stdout)


def _measured(client: Any, page: Any) -> dict[str, Any]:
    """``first_ms`` is that of the first time, in which a process also reads what it then keeps in memory; the rest is of the
    times after it."""
    first, _, _, answer, body = _opened(client, page.address)
    queries = 0
    times: list[float] = []
    cpu: list[float] = []
    while len(times) < _TIMES and (sum(times) < _PATIENCE_S or len(times) < 3):
        took, used, again, answer, body = _opened(client, page.address)
        times.append(took)
        cpu.append(used)
        queries = max(queries, again)
    times.sort()
    return {
        "name": page.name,
        "address": page.address,
        "file": page.file,
        "status": answer.status_code,
        "first_ms": first * 1000,
        "median_ms": times[len(times) // 2] * 1000,
        "p95_ms": times[math.ceil(0.95 * len(times)) - 1] * 1000,
        "cpu_ms": sorted(cpu)[len(cpu) // 2] * 1000,
        "queries": queries,
        "bytes": len(body),
        "compressed": len(gzip.compress(body, 6)),
    }


def _opened(client: Any, address: str) -> tuple[float, float, int, Any, bytes]:
    """Seconds, seconds of CPU, queries, the answer and its body."""
    from django.db import connections

    count = 0

    def counted(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        nonlocal count
        count += 1
        return execute(sql, params, many, context)

    with ExitStack() as stack:
        for connection in connections.all():
            stack.enter_context(connection.execute_wrapper(counted))
        begun, before = perf_counter(), process_time()
        answer = client.get(address)
        body = b"".join(answer.streaming_content) if answer.streaming else answer.content
        return perf_counter() - begun, process_time() - before, count, answer, body


if __name__ == "__main__":
    main(sys.argv[1:])
