"""What every face that takes JSON needs to read a body: known fields, right types, errors that name the field.

Null is absent: many clients send it for what they do not say. :func:`only` decides that for all of them.
"""

from collections.abc import Mapping
from typing import Any, Final

from inference.inputs import truncation
from inference.types import MAX_TOP_K
from mlplatform.lib.errors import invalid
from tenants.http.messages import only as only
from tenants.http.messages import required as required

_MAX_MODEL_CHARS: Final = 130
_PARAMETERS: Final = ("top_k", "truncate")


def model(body: Mapping[str, Any], *, path: str = "") -> str:
    """The model's name, or empty for the tenant's default."""
    value = body.get("model", "")
    if not isinstance(value, str) or len(value) > _MAX_MODEL_CHARS:
        raise invalid(f"{path}model", "The model is text such as sentiment or sentiment@1.2.0.")
    return value


def top_k(body: Mapping[str, Any], *, path: str = "") -> int | None:
    """``parameters.top_k``: how many labels the caller wants, best first; None for all."""
    parameters = body.get("parameters", {})
    if not isinstance(parameters, dict):
        raise invalid(f"{path}parameters", "The parameters are an object.")
    parameters = only(parameters, _PARAMETERS, path=f"{path}parameters.")
    value = parameters.get("top_k")
    if value is None:
        return None
    if type(value) is not int or not 1 <= value <= MAX_TOP_K:
        raise invalid(f"{path}parameters.top_k", f"top_k is a whole number from 1 to {MAX_TOP_K}.")
    return value


def truncate(body: Mapping[str, Any], *, path: str = "") -> int:
    """``parameters.truncate``: whether a text longer than the model reads is cut, and not refused. After :func:`top_k`, which
    looks at the parameters as a whole."""
    value = (body.get("parameters") or {}).get("truncate")
    if value is not None and type(value) is not bool:
        raise invalid(f"{path}parameters.truncate", "truncate is true or false.")
    return truncation.flag(value)
