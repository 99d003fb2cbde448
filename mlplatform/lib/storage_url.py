"""``MODELS_STORAGE_URL`` to an entry of Django's ``STORAGES``."""

from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

_FORM = (
    "MODELS_STORAGE_URL: write s3://key:secret@host/bucket, s3://key:secret@/bucket for AWS, or nothing for a folder"
)
_OPTIONS = frozenset({"endpoint", "region"})


def of_folder(folder: Path) -> dict[str, Any]:
    """Files below ``folder``."""
    return {
        "BACKEND": "django.core.files.storage.FileSystemStorage",
        "OPTIONS": {"location": str(folder), "allow_overwrite": True},
    }


def parse(url: str) -> dict[str, Any]:
    """``s3://key:secret@host/bucket[/prefix][?endpoint=http://host:9000][&region=…]``.

    Without ``endpoint`` it is ``https://host``; without a host AWS itself; without a key boto3 looks where it always looks
    (environment, profile, the machine's role). Raises ValueError for anything else.
    """
    parts = urlsplit(url)
    options = dict(parse_qsl(parts.query, strict_parsing=True)) if parts.query else {}
    bucket, _, prefix = parts.path.strip("/").partition("/")
    if parts.scheme != "s3" or not bucket or parts.fragment or not options.keys() <= _OPTIONS:
        raise ValueError(_FORM)
    if bool(parts.username) != bool(parts.password):
        raise ValueError(f"{_FORM}; key and secret belong together")
    host = f"{parts.hostname}:{parts.port}" if parts.port else parts.hostname or ""
    endpoint = options.get("endpoint") or (f"https://{host}" if host else None)
    if endpoint is not None and urlsplit(endpoint).scheme not in {"http", "https"}:
        raise ValueError(f"{_FORM}; the endpoint begins with http:// or https://")
    # Imported here: only who has a bucket waits for it.
    from botocore.config import Config

    # A bucket's name in the host needs a certificate for it, which one's own server rarely has.
    style = {"addressing_style": "path"} if endpoint else {}
    return {
        "BACKEND": "storages.backends.s3.S3Storage",
        "OPTIONS": {
            "bucket_name": unquote(bucket),
            "location": unquote(prefix),
            "access_key": unquote(parts.username) if parts.username else None,
            "secret_key": unquote(parts.password) if parts.password else None,
            "endpoint_url": endpoint,
            "region_name": options.get("region"),
            "client_config": Config(s3=style, connect_timeout=5, read_timeout=60, retries={"total_max_attempts": 2}),
            "file_overwrite": True,
            "default_acl": None,
        },
    }
