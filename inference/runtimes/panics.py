"""Panics of libraries in Rust (tokenizers, safetensors), which are no ``Exception`` and would end the thread, or the worker."""

from types import TracebackType
from typing import Final

from inference.runtimes.protocol import RuntimeFault

_MODULE: Final = "pyo3_runtime"


class contained:  # noqa: N801 - used as a function is, and made for each batch, of which a generator takes 10 µs more
    """A panic inside becomes a RuntimeFault: a fault of the model on that input, as any exception of it is."""

    __slots__ = ()

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, panic: BaseException | None, _: TracebackType | None) -> None:
        # SystemExit and KeyboardInterrupt are orders to this process.
        if kind is not None and not issubclass(kind, Exception) and kind.__module__ == _MODULE:
            raise RuntimeFault(f"A library of the model panicked: {panic}") from panic
