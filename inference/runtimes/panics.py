"""Panics of libraries in Rust (tokenizers, safetensors), which are no ``Exception`` and would end the thread, or the worker."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from inference.runtimes.protocol import RuntimeFault

_MODULE: Final = "pyo3_runtime"


@contextmanager
def contained() -> Iterator[None]:
    """A panic inside becomes a RuntimeFault: a fault of the model on that input, as any exception of it is."""
    try:
        yield
    except Exception:
        raise
    except BaseException as panic:
        if type(panic).__module__ != _MODULE:
            raise  # SystemExit and KeyboardInterrupt are orders to this process.
        raise RuntimeFault(f"A library of the model panicked: {panic}") from panic
