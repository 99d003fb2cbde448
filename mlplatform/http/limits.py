"""The bounds of the HTTP front: how long, how much and how many, by the settings."""

import re
from dataclasses import dataclass
from typing import Final

from django.conf import settings

from mlplatform.lib import unpacking

_FORM_EXTRA_BYTES: Final = 64 * 1024
_UPLOADS: Final = re.compile(r"/(?:(?:v\d[^/]{0,15}/)?models/[^/]+/versions|admin/inference/modelversion/upload/)")
"""The addresses that take packages."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What a client may take of the process. Each has its place in ``docs/settings.md``."""

    body_bytes: int
    """Of a body as it is sent, at every address but those of uploads."""
    upload_bytes: int
    head_s: float
    """From the first byte of a request, or from connecting, to the end of its headers."""
    body_s: float
    upload_s: float
    body_grace_s: float
    """Within which a body may come as slowly as it likes."""
    body_bytes_per_s: int
    """Of a body on average, when its grace has passed."""
    bodies_per_address: int
    bodies_per_key: int
    bodies_in_memory: int
    """Bytes of all bodies that this process holds: half-sent, waiting for a thread, or at work."""
    uploads: int
    reader_s: float
    """Within which a client takes 48 KiB of an answer that is larger than what the kernel buffers."""
    keep_alive_s: float
    connections: int
    threads: int
    waiting: int
    """Requests that may wait for a thread."""
    drain_s: float

    def bytes_of(self, *, upload: bool) -> int:
        """The most that is read of a body."""
        return self.upload_bytes if upload else self.body_bytes


def of_settings(*, threads: int) -> Limits:
    """The limits that the settings make."""
    return Limits(
        # A packed body may be a little larger than what it holds; the reader that unpacks it counts exactly.
        body_bytes=unpacking.packed_limit(settings.MAX_BODY_BYTES),
        upload_bytes=unpacking.packed_limit(settings.MAX_PACKAGE_BYTES + _FORM_EXTRA_BYTES),
        head_s=settings.WEB_HEADERS_S,
        body_s=settings.WEB_BODY_S,
        upload_s=settings.PUSH_BODY_S,
        body_grace_s=settings.WEB_BODY_GRACE_S,
        body_bytes_per_s=settings.WEB_BODY_BYTES_PER_S,
        bodies_per_address=settings.WEB_BODIES_PER_ADDRESS,
        bodies_per_key=settings.WEB_BODIES_PER_KEY,
        bodies_in_memory=settings.WEB_BODIES_BYTES,
        uploads=settings.WEB_UPLOADS,
        reader_s=settings.WEB_READER_S,
        keep_alive_s=settings.WEB_KEEP_ALIVE_S,
        connections=settings.WEB_CONNECTIONS,
        threads=threads,
        waiting=settings.WEB_WAITING,
        drain_s=settings.WEB_DRAIN_S,
    )


def takes_uploads(method: str, path: str) -> bool:
    """Whether a body at this address may be a package."""
    return method == "POST" and _UPLOADS.fullmatch(path) is not None
