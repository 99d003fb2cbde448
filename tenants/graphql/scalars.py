"""Scalars that GraphQL lacks."""

from typing import Any

import graphene


class JSON(graphene.Scalar):
    """Any JSON value, as it is. Only in answers."""

    @staticmethod
    def serialize(value: Any) -> Any:
        return value
