"""No part of MODELS_STORAGE_URL is ignored."""

from pathlib import Path
from typing import Any

import pytest

from mlplatform.lib import storage_url


def options(url: str) -> dict[str, Any]:
    parsed = storage_url.parse(url)
    assert parsed["BACKEND"] == "storages.backends.s3.S3Storage"
    given: dict[str, Any] = parsed["OPTIONS"]
    return given


def test_every_part_counts() -> None:
    given = options("s3://k%2Fey:s%40cret@s3.example:9000/bucket/a/b?region=eu-central-1")
    assert given["bucket_name"] == "bucket"
    assert given["location"] == "a/b"
    assert (given["access_key"], given["secret_key"]) == ("k/ey", "s@cret")
    assert given["endpoint_url"] == "https://s3.example:9000"
    assert given["region_name"] == "eu-central-1"
    assert given["file_overwrite"] is True


def test_an_endpoint_and_aws_itself() -> None:
    assert options("s3://k:s@any/bucket?endpoint=http://10.0.0.5:9000")["endpoint_url"] == "http://10.0.0.5:9000"
    aws = options("s3:///bucket")
    assert (aws["endpoint_url"], aws["access_key"], aws["client_config"].s3) == (None, None, {})


@pytest.mark.parametrize(
    "url",
    [
        "",
        "bucket",
        "s3://",
        "s3://host",
        "s3://host/",
        "http://k:s@host/bucket",
        "s3://key@host/bucket",
        "s3://k:s@host/bucket#part",
        "s3://k:s@host/bucket?endpoint=ftp://x",
        "s3://k:s@host/bucket?tls=no",
        "s3://k:s@host/bucket?endpoint",
    ],
)
def test_anything_else_is_refused(url: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - the parser of the query has words of its own
        storage_url.parse(url)


def test_a_folder(tmp_path: Path) -> None:
    assert storage_url.of_folder(tmp_path)["OPTIONS"]["location"] == str(tmp_path)
