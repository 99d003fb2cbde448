"""How large a package may be, and how much the process that reads it may use."""

import resource
from dataclasses import asdict, dataclass
from typing import Final, Self

MAX_FILES: Final = 64
MAX_NAME_CHARS: Final = 200
MAX_FOLDERS_DEEP: Final = 3
MAX_JSON_BYTES: Final = 32 * 1024 * 1024
MAX_IMAGE_BYTES: Final = 8 * 1024 * 1024
MAX_TEXT_BYTES: Final = 2 * 1024 * 1024
MAX_HEADER_BYTES: Final = 16 * 1024 * 1024
MAX_RATIO: Final = 100
"""How many times its packed size a file of a zip may have. Weights hardly shrink, a vocabulary to a fifth."""
FREE_RATIO_BYTES: Final = 1024 * 1024
"""Below this size the ratio does not count: a megabyte of spaces does no harm."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What one check may read and use. ``max_bytes`` is of all files unpacked."""

    max_bytes: int
    memory_bytes: int = 2 * 1024**3
    cpu_s: int = 180
    wall_s: int = 300
    open_files: int = 64

    def to_json(self) -> dict[str, int]:
        return asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, int]) -> Self:
        return cls(**values)

    def apply(self) -> None:
        """Bind this process to the limits for good: soft and hard, so that nothing that runs later can lift them."""
        for what, amount in (
            (resource.RLIMIT_AS, self.memory_bytes),
            (resource.RLIMIT_CPU, self.cpu_s),
            (resource.RLIMIT_FSIZE, self.max_bytes),
            (resource.RLIMIT_NOFILE, self.open_files),
            (resource.RLIMIT_CORE, 0),
        ):
            _, hard = resource.getrlimit(what)
            bound = amount if hard == resource.RLIM_INFINITY else min(amount, hard)
            resource.setrlimit(what, (bound, bound))
