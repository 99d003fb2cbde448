"""Texts in arguments."""

from mlplatform.lib.errors import invalid


def plain(value: str, *, field: str, max_chars: int = 255) -> str:
    """The text. Raises INVALID_INPUT for one that is empty or too long.

    NUL and lone surrogates never come so far: the strict JSON of variables and the document's parser refuse them.
    """
    if not value or len(value) > max_chars:
        raise invalid(field, f"The text has from 1 to {max_chars} characters.")
    return value
