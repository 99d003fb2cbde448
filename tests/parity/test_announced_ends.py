"""From its announcement on every face says when a version ends and where to go; that it is deprecated, when it is."""

from email.utils import format_datetime

import pytest

from tests.conftest import Customer
from tests.parity.faces import Ask, Face
from tests.support.ending import make_schedule
from tests.support.tiny_model import TinyWorker, make_version

pytestmark = pytest.mark.usefixtures("prices", "published_at_once")

WHEN_DEPRECATED = {"deprecation", "x-api-deprecated"}


@pytest.mark.parametrize("days_to_deprecation", [5, -5])
def test_a_version_that_ends(acme: Customer, tiny_worker: TinyWorker, face: Face, days_to_deprecation: int) -> None:
    for version in (make_version("tiny"), make_version("tiny", "0.9.0", "ready")):
        tiny_worker.serve(version)
    assert not {"sunset", "link", *WHEN_DEPRECATED} & set(face(acme.secret, Ask("tiny@0.9.0", ("before",))).headers)
    row = make_schedule("model_version", "tiny@0.9.0", "tiny@1.0.0", deprecated_days_ago=-days_to_deprecation)
    said = face(acme.secret, Ask("tiny@0.9.0", ("hello",)))
    assert said.kind is None
    assert said.headers["sunset"] == format_datetime(row.sunset_at, usegmt=True)
    assert said.headers["x-api-sunset-date"] == f"{row.sunset_at:%Y-%m-%d}"
    assert '/docs/migrate/tiny@0.9.0-1.0.0>; rel="sunset"' in said.headers["link"]
    assert 'rel="successor-version"' in said.headers["link"]
    found = WHEN_DEPRECATED & set(said.headers)
    assert found == (set() if days_to_deprecation > 0 else WHEN_DEPRECATED)
    if found:
        assert said.headers["deprecation"] == f"@{int(row.deprecate_at.timestamp())}"
