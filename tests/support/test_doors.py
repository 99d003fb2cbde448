"""What ``make check`` takes for a private door."""

from tests.support.doors import private_uses

SOURCE = """
import billing.pricing
from inference.registry import live, versions
from inference.worker import reporter as told
from mlplatform.graphql.cost import Cost, _Adding
from tests.support import ledger

live._load()
versions.load(live.__name__)
told.LINE = told._LINE
billing.pricing._prices
ledger._own
self._own
monkeypatch.setattr(versions, "_claim", 1)
monkeypatch.setattr("inference.registry.live._served", None)
monkeypatch.setattr(versions, "promote", 1)
"""


def test_imports_attributes_and_patches_of_private_names_are_found() -> None:
    assert sorted(private_uses(SOURCE)) == [
        (5, "_Adding"), (8, "_load"), (10, "_LINE"), (11, "_prices"), (14, "_claim"), (15, "_served"),
    ]  # fmt: skip
