"""How much the process of a tenant's model may use."""

import resource
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final, Self

_PAGE_BYTES: Final = resource.getpagesize()
_OPEN_FILES: Final = 64


@dataclass(frozen=True, slots=True)
class ComputeLimits:
    """``memory_bytes`` is the address space beside that of the libraries; ``cpu_s`` and ``wall_s`` bound one batch,
    ``load_s`` loading and the first run, in seconds, on the clock longer where it waits for a processor (see ``patience``)."""

    memory_bytes: int
    cpu_s: int
    wall_s: float
    load_s: float

    def to_json(self) -> dict[str, float]:
        return asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, float]) -> Self:
        return cls(int(values["memory_bytes"]), int(values["cpu_s"]), float(values["wall_s"]), float(values["load_s"]))


def bind(limits: ComputeLimits, *, address_space: bool) -> None:
    """Bind this process for good. A device's driver reserves more addresses than any limit allows, so for one that computes
    on a GPU ``address_space`` is False."""
    if address_space:
        _set(resource.RLIMIT_AS, _address_space_bytes() + limits.memory_bytes)
    _set(resource.RLIMIT_NOFILE, _OPEN_FILES)
    _set(resource.RLIMIT_FSIZE, 0)
    _set(resource.RLIMIT_CORE, 0)


def allow_cpu(seconds: float) -> None:
    """From now on this process may use so many seconds of processor; the kernel ends it when it uses more."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    soft = int(usage.ru_utime + usage.ru_stime + seconds) + 1
    resource.setrlimit(resource.RLIMIT_CPU, (soft, resource.getrlimit(resource.RLIMIT_CPU)[1]))


def _set(what: int, amount: int) -> None:
    _, hard = resource.getrlimit(what)
    bound = amount if hard == resource.RLIM_INFINITY else min(amount, hard)
    resource.setrlimit(what, (bound, bound))


def _address_space_bytes() -> int:
    try:
        return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0]) * _PAGE_BYTES
    except OSError:
        return 1 << 30  # Not Linux: about what the libraries take.
