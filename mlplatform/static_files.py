"""Static files: named by their content and packed once, so that a browser asks for each of them once."""

import hashlib
import os
from pathlib import Path
from typing import Any, Final

from django.conf import settings
from django.contrib.staticfiles.finders import get_finders
from django.core.management import call_command
from whitenoise.compress import Compressor
from whitenoise.storage import CompressedManifestStaticFilesStorage

UNUSED: Final = (
    "*.map",
    "redoc",
    "rest_framework",
    "unfold/fonts/*",
    "unfold/js/chart/*",
    "swagger-ui-standalone-preset.js",
)
"""What packages bring and no page of ours loads."""
_STAMP: Final = "collected"


class Storage(CompressedManifestStaticFilesStorage):  # type: ignore[misc]  # whitenoise has no types
    """Names with the content's hash for files that are collected; others keep their own, and are served from where they lie.

    So tests and processes that are started by hand need no collecting.
    """

    patterns = (
        ("*.css", ((r"""(?P<matched>url\((?P<quote>['"]{0,1})\s*(?P<url>.*?)(?P=quote)\))""", 'url("%(url)s")'),)),
    )
    """Addresses in sheets are rewritten; source maps are for developers and are not served."""

    def create_compressor(self, **options: Any) -> Compressor:
        """gzip alone: brotli at its best saves a tenth more and takes five times as long."""
        return Compressor(use_brotli=False, **options)

    def stored_name(self, name: str) -> str:
        """The name with the hash where there is one."""
        try:
            return str(super().stored_name(name))
        except ValueError:
            return name


def collect() -> bool:
    """Bring ``STATIC_ROOT`` up to date, which takes a second where a file has changed; whether one had."""
    stamp = Path(settings.STATIC_ROOT) / _STAMP
    now = _fingerprint()
    if stamp.exists() and stamp.read_text() == now:
        return False
    umask = os.umask(0o022)  # They are public, also for a web server in front.
    try:
        call_command("collectstatic", interactive=False, verbosity=0, ignore_patterns=list(UNUSED))
        stamp.write_text(now)
    finally:
        os.umask(umask)
    return True


def _fingerprint() -> str:
    """Of the names, sizes and times of all files: none is read."""
    digest = hashlib.sha256(repr(UNUSED).encode())
    for finder in get_finders():
        for path, storage in finder.list(list(UNUSED)):
            status = Path(storage.path(path)).stat()
            digest.update(f"{path}\0{status.st_size}\0{status.st_mtime_ns}\n".encode())
    return digest.hexdigest()
