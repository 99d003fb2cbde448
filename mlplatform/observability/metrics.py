"""``/metrics`` in Prometheus' text format, for loopback peers or holders of ``METRICS_TOKEN``."""

import hmac
import ipaddress
import os
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, CollectorRegistry, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

from mlplatform.lib import processes, tally

_OF_PROXIES: Final = ("HTTP_X_FORWARDED_FOR", "HTTP_FORWARDED", "HTTP_VIA", "HTTP_X_REAL_IP", "HTTP_X_FORWARDED_PROTO")
"""Headers that a proxy adds: with one of them the loopback peer is not the client."""


def metrics(request: HttpRequest) -> HttpResponse:
    """Metrics of all processes where ``PROMETHEUS_MULTIPROC_DIR`` is set, else of this one."""
    if not _may_read(request):
        return HttpResponse(status=404)
    tally.flush()
    registry: CollectorRegistry = REGISTRY
    folder = os.environ.get("PROMETHEUS_MULTIPROC_DIR")
    if folder:
        _forget_dead_processes(Path(folder))
        registry = CollectorRegistry()
        MultiProcessCollector(registry)
    return HttpResponse(generate_latest(registry), content_type=CONTENT_TYPE_LATEST)


def _forget_dead_processes(folder: Path) -> None:
    """What a process has now, such as its open connections, would count on after its end."""
    for file in folder.glob("gauge_live*_*.db"):
        pid = file.stem.rpartition("_")[2]
        if pid.isdecimal() and not processes.runs(int(pid)):
            file.unlink(missing_ok=True)


def _may_read(request: HttpRequest) -> bool:
    if settings.METRICS_TOKEN:
        offered = request.META.get("HTTP_AUTHORIZATION", "").removeprefix("Bearer ")
        return hmac.compare_digest(offered.encode(), settings.METRICS_TOKEN.encode())
    # Behind a proxy every peer is the proxy, so then only the token opens; also where TRUSTED_PROXIES is not set yet.
    if settings.TRUSTED_PROXIES or not _served_here_alone() or any(name in request.META for name in _OF_PROXIES):
        return False
    try:
        return ipaddress.ip_address(request.META.get("REMOTE_ADDR", "")).is_loopback
    except ValueError:
        return False


def _served_here_alone() -> bool:
    """Whether customers see an address of this machine alone. Where they see another, or TLS that this process does not end, a
    proxy may stand before it, and not every proxy adds a header: nginx adds none by itself."""
    seen = urlsplit(settings.BASE_URL)
    if seen.scheme == "https":
        return False
    try:
        address = ipaddress.ip_address(seen.hostname or "")
    except ValueError:
        return seen.hostname == "localhost"
    return address.is_loopback or address.is_unspecified
