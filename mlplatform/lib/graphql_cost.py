"""What a field of the GraphQL schema costs and who may read it, declared where the field stands.

``mlplatform.graphql`` reads the declarations: it adds up a document before anything runs, counts what ran, and asks for
scopes. This module knows nothing of GraphQL's library, so that every floor may use it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

F = TypeVar("F")

Predicts = Callable[[Mapping[str, Any]], Sequence[tuple[str, Sequence[str]]]]
"""From a field's arguments, as its resolver gets them, to its calls: (operation, the model of each input as a call names it)."""

_ATTRIBUTE: Final = "declared_cost"


@dataclass(frozen=True, slots=True)
class FieldCost:
    """A declaration; :func:`cost` tells what the members mean."""

    complexity: int = 1
    scope: str = ""
    multiplier: str = ""
    assumed: int = 1
    predicts: Predicts | None = None
    on_sale: bool = False
    free_below: bool = False


def cost(
    field: F,
    *,
    complexity: int = 1,
    scope: str = "",
    multiplier: str = "",
    assumed: int = 1,
    predicts: Predicts | None = None,
    on_sale: bool = False,
    free_below: bool = False,
) -> F:
    """The field with this declaration; an unmounted type, such as ``graphene.String()``, comes back mounted as a field.

    ``complexity`` points are charged each time the field is resolved. ``scope`` is what the key needs to read it.
    ``multiplier`` names the argument, as the resolver gets it (``first``), that says how many times what is selected
    below is resolved: its value, or the length of a list; of several names, ``first last``, the first that is given
    counts. ``assumed`` holds where it is absent, and for a list field without such an argument. ``predicts`` tells the
    predictions that the field makes: they are priced, and charged by themselves, in place of points, and what is selected
    below is free; with ``on_sale`` they are of models on sale, whatever the tenant calls its own. ``free_below`` makes what is
    below free for other fields.
    """
    if complexity < 0 or assumed < 0:
        raise ValueError("neither points nor an assumed number of items may be negative")
    mounted: Any = field
    if hasattr(field, "mount_as"):
        mounted = mounted.Field()
    declaration = FieldCost(complexity, scope, multiplier, assumed, predicts, on_sale, free_below)
    setattr(mounted, _ATTRIBUTE, declaration)
    return mounted  # type: ignore[no-any-return]


def declared(field: object) -> FieldCost | None:
    """What :func:`cost` declared for this field, if anything."""
    return getattr(field, _ATTRIBUTE, None)
