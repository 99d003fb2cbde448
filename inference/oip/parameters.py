"""Parameters of a call, of its inputs and of its outputs: those that mean something here, and no others.

A parameter that is silently ignored hides a typing error or a promise that is not kept, so an unknown one is refused.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from inference.inputs import truncation
from inference.oip.outputs import Wanted
from inference.types import MAX_TOP_K, REFUSE
from mlplatform.lib.errors import invalid

_OF_CALL: Final = ("binary_data_output", "timeout", "top_k", "truncate")
# What Triton's clients may say beside, and what changes no answer here, as on a Triton whose model is not configured for it.
_WITHOUT_EFFECT: Final = ("priority", "triton_enable_empty_final_response")
_SEQUENCE: Final = ("sequence_id", "sequence_start", "sequence_end")
_OF_INPUT: Final = ("binary_data_size",)
_OF_OUTPUT: Final = ("binary_data", "classification")
_MICROSECOND_S: Final = 1e-6


@dataclass(frozen=True, slots=True)
class CallParameters:
    """``timeout_s`` and ``binary_output`` are None where the call does not say them. ``truncate``: whether texts may be cut, as
    ``inference.inputs.truncation`` says it."""

    top_k: int | None = None
    timeout_s: float | None = None
    binary_output: bool | None = None
    truncate: int = REFUSE


def of_call(given: Mapping[str, Any]) -> CallParameters:
    """``top_k``: how many labels, best first. ``timeout``: microseconds. ``binary_data_output``: the form of outputs.
    ``truncate``: texts longer than the model reads are cut, and not refused.

    ``priority`` and ``triton_enable_empty_final_response`` are taken and change nothing: calls are served in fair turns over
    tenants, and each has one answer.
    """
    for name in _SEQUENCE:
        if name in given:
            raise invalid(
                f"parameters.{name}", f"Models here keep nothing between two calls of a sequence; leave {name} out."
            )
    _only(given, (*_OF_CALL, *_WITHOUT_EFFECT), "parameters")
    _whole(given, "priority", "parameters", least=0, most=2**64 - 1)
    _truth(given, "triton_enable_empty_final_response", "parameters")
    timeout = _whole(given, "timeout", "parameters", least=1, most=10**12)
    return CallParameters(
        top_k=_whole(given, "top_k", "parameters", least=1, most=MAX_TOP_K),
        timeout_s=timeout * _MICROSECOND_S if timeout is not None else None,
        binary_output=_truth(given, "binary_data_output", "parameters"),
        truncate=truncation.flag(_truth(given, "truncate", "parameters")),
    )


def binary_size_of_input(given: Mapping[str, Any], place: str) -> int | None:
    """``binary_data_size``: how many bytes after the JSON are this input's; None where its data are in the JSON."""
    if any(name.startswith("shared_memory_") for name in given):
        raise invalid(f"{place}.parameters", "Shared memory is not offered; send the tensor's data.")
    _only(given, _OF_INPUT, f"{place}.parameters")
    return _whole(given, "binary_data_size", f"{place}.parameters", least=0, most=2**40)


def wanted(name: str, given: Mapping[str, Any], place: str) -> Wanted:
    """An output with its form: ``binary_data``, and ``classification`` for text ``score:index:label``."""
    if any(key.startswith("shared_memory_") for key in given):
        raise invalid(f"{place}.parameters", "Shared memory is not offered; outputs come in the answer.")
    _only(given, _OF_OUTPUT, f"{place}.parameters")
    classes = _whole(given, "classification", f"{place}.parameters", least=0, most=MAX_TOP_K)
    return Wanted(name, _truth(given, "binary_data", f"{place}.parameters"), classes or 0)


def _only(given: Mapping[str, Any], known: tuple[str, ...], place: str) -> None:
    for name in given:
        if name not in known:
            raise invalid(f"{place}.{name[:64]}", f"Unknown parameter {name[:64]!r}; there are {', '.join(known)}.")


def _whole(given: Mapping[str, Any], name: str, place: str, *, least: int, most: int) -> int | None:
    value = given.get(name)
    if value is None:
        return None
    if type(value) is not int or not least <= value <= most:
        raise invalid(f"{place}.{name}", f"{name} is a whole number from {least} to {most:,}.")
    return value


def _truth(given: Mapping[str, Any], name: str, place: str) -> bool | None:
    value = given.get(name)
    if value is not None and not isinstance(value, bool):
        raise invalid(f"{place}.{name}", f"{name} is true or false.")
    return value
