"""How many gRPC calls were answered, how, and how long they took."""

from functools import lru_cache
from typing import Final

from prometheus_client import Counter, Histogram

from mlplatform.lib import tally

_answers: Final = Counter("mlplatform_grpc_answers_total", "gRPC calls that were answered.", ["method", "code"])
_seconds: Final = Histogram(
    "mlplatform_grpc_seconds", "From the first to the last line of our code for a gRPC call.", ["method"]
)
_items: Final = Counter("mlplatform_grpc_stream_items_total", "Inputs of streams that were answered.", ["code"])
_brownouts: Final = Counter(
    "mlplatform_grpc_brownout_answers_total",
    "gRPC calls that a planned brownout refused; each is one of mlplatform_grpc_answers_total with UNAVAILABLE too.",
    ["method"],
)


def answered(method: str, code: str, seconds: float) -> None:
    """One call ended with this code."""
    tally.count(_answered(method, code))
    tally.observe(_timed(method), seconds)


def refused_by_brownout(method: str) -> None:
    """One call was refused by a planned brownout."""
    tally.count(_of_brownout(method))


def items_answered(code: str, number: int) -> None:
    """So many inputs of streams ended with this code."""
    _of_code(code).inc(number)


# A metric's child is found through a lock and a dictionary of tuples each time; the pairs are few.
@lru_cache(maxsize=512)
def _answered(method: str, code: str) -> Counter:
    return _answers.labels(method, code)


@lru_cache(maxsize=64)
def _timed(method: str) -> Histogram:
    return _seconds.labels(method)


@lru_cache(maxsize=64)
def _of_brownout(method: str) -> Counter:
    return _brownouts.labels(method)


@lru_cache(maxsize=32)
def _of_code(code: str) -> Counter:
    return _items.labels(code)
