"""Whether a document can be trusted: whether it would be answered as it is registered."""

from django.conf import settings

from mlplatform.graphql import documents
from mlplatform.graphql.operations import the_schema
from mlplatform.graphql.refusals import Refusal


def judge(text: str) -> str:
    """What is wrong with a document's text, in words; empty if it is within the limits and valid for the schema.

    Its cost is judged when it is used, with the variables that it is used with.
    """
    try:
        documents.read(
            the_schema(),
            text,
            max_tokens=settings.GRAPHQL_MAX_TOKENS,
            max_depth=settings.GRAPHQL_MAX_DEPTH,
            max_aliases=settings.GRAPHQL_MAX_ALIASES,
        )
    except Refusal as refusal:
        return refusal.detail
    return ""
