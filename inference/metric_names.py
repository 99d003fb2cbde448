"""What the label ``model`` of a metric says."""

from typing import Final

PRIVATE: Final = "private"


def of_model(name: str, *, private: bool) -> str:
    """The model's name, and one word for all that tenants own: they are many, come and go, and are nobody else's business."""
    return PRIVATE if private else name
