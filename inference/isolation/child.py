"""What the process of a tenant's model does: it loads one model version, then computes one batch after the other."""

import os
import socket
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np

from inference.isolation import frames, limits, walls
from inference.isolation.limits import ComputeLimits
from inference.isolation.specs import spec_from
from inference.runtimes import devices, loading, memory
from inference.runtimes.protocol import ReadsTexts, Runtime, RuntimeSpec

_MAX_ORDER_BYTES: Final = 1 << 31
_MAX_REASON: Final = 500
_NICE: Final = 15
_ROOT: Final = Path(__file__).resolve().parents[2]


def serve(channel: socket.socket) -> None:
    """Until the worker hangs up. A fault of the model is an answer; breaking a limit ends the process."""
    os.nice(_NICE)
    devices.configure_threads(1)
    bounds: ComputeLimits | None = None
    runtime: Runtime | None = None
    while True:
        try:
            order = frames.decode_order(frames.receive(channel, most=_MAX_ORDER_BYTES))
        except EOFError:
            return
        try:
            if isinstance(order, frames.Load):
                bounds = ComputeLimits.from_json(order.limits)
                limits.allow_cpu(bounds.load_s)
                runtime, loaded = _load(spec_from(order.spec), bounds)
                answer: frames.Answer = loaded
            elif runtime is None or bounds is None:
                raise RuntimeError("no model is loaded")
            else:
                limits.allow_cpu(bounds.cpu_s)
                answer = _computed(runtime, order)
        except BaseException as failure:  # noqa: BLE001
            # Also a panic of a library. What it was is for the worker to say; nothing here is worth another end.
            answer = frames.Fault(type(failure).__name__, str(failure)[:_MAX_REASON])
        frames.send(channel, answer)


def _computed(runtime: Runtime, order: frames.Read | frames.Forward) -> frames.Answer:
    if isinstance(order, frames.Forward):
        rows = np.ascontiguousarray(runtime.forward(frames.unpack(order)))
        return frames.Rows(rows.dtype.str, rows.shape, rows.tobytes())
    if not isinstance(runtime, ReadsTexts):
        raise TypeError("this model reads no texts")
    return frames.pack_read(runtime.read(frames.unpack(order), order.truncate))


def _load(spec: RuntimeSpec, bounds: ComputeLimits) -> tuple[Runtime, frames.Loaded]:
    limits.bind(bounds, address_space=not spec.device.startswith("cuda"))
    standing = walls.put_up(readable=_readable(spec.artefact)) if not spec.device.startswith("cuda") else []
    runtime = loading.RUNTIMES[spec.runtime]()
    runtime.load(spec)
    runtime.warmup()
    max_tokens = runtime.max_tokens if isinstance(runtime, ReadsTexts) else None
    return runtime, frames.Loaded(memory.weights_bytes(runtime), standing, max_tokens)


def _readable(artefact: Path) -> Iterator[Path]:
    """The model's files, and the interpreter's and libraries' own, of which some are imported at first use."""
    yield artefact
    yield _ROOT / "inference"
    yield _ROOT / "mlplatform"
    for name in ("stdlib", "platstdlib", "purelib", "platlib"):
        yield Path(sysconfig.get_path(name))
    yield from (Path(place) for place in ("/usr/lib", "/lib", "/lib64", "/usr/local/lib", "/etc/ld.so.cache"))
    yield from (Path(place) for place in ("/dev/urandom", "/dev/null", "/proc/self", "/proc/cpuinfo", "/proc/meminfo"))
    yield from (Path(place) for place in ("/sys/devices/system", "/sys/fs/cgroup"))
    yield Path(sys.prefix) / "lib"
    yield Path(sys.base_prefix) / "lib"
