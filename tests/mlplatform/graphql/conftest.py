"""The small schema in place of the product's, and calls of it."""

from collections.abc import Iterator

import pytest
from pytest_django import Settings

from mlplatform.graphql import operations
from mlplatform.graphql.documents import documents
from tenants import trusted_documents
from tests.mlplatform.graphql import small_schema
from tests.support.tiny_model import tiny_worker

__all__ = ["small", "tiny_worker"]


@pytest.fixture(autouse=True)
def small(settings: Settings) -> Iterator[None]:
    settings.GRAPHENE = {"SCHEMA": "tests.mlplatform.graphql.small_schema.schema"}
    _forget()
    yield
    _forget()


def _forget() -> None:
    operations.the_schema.cache_clear()
    documents.forget()
    trusted_documents.forget()
    small_schema.RAN.clear()
    small_schema.FETCHED.clear()
