"""The process that opens a package: ``python -m inference.registry.packages.check``, started by ``checking``.

It binds itself to its limits before it touches a byte of the package, has no secret in its environment and no connection,
and says its verdict as one JSON object: ``{"card": …, "digest": …, "size_bytes": …}`` or ``{"place": …, "reason": …}``.
"""

import errno
import json
import sys
from pathlib import Path
from typing import Any

from inference.registry.packages import archives, contents, folders
from inference.registry.packages.archives import ARCHIVE
from inference.registry.packages.limits import Limits
from inference.registry.packages.problems import PackageError


def check(source: Path, target: Path, limits: Limits, *, trusted: bool) -> dict[str, Any]:
    """Bring the package into the empty folder ``target`` and look into it. Raises PackageError."""
    try:
        if source.is_dir():
            folders.copy(source, target, limits)
        else:
            with source.open("rb") as archive:
                archives.unpack(archive, target, limits)
        card = contents.check(target, trusted=trusted)
        size = sum(file.stat().st_size for file in target.rglob("*") if file.is_file())
        return {"card": dict(card.values), "digest": contents.digest(target), "size_bytes": size}
    except MemoryError as error:
        raise PackageError(ARCHIVE, "Reading it takes more memory than a package may need.") from error
    except OSError as error:
        if error.errno == errno.EFBIG:
            raise PackageError(ARCHIVE, "A file of it is larger than is accepted.") from error
        raise


def main() -> None:
    """Read the order from standard input, write the verdict to standard output."""
    order = json.load(sys.stdin)
    limits = Limits.from_json(order["limits"])
    limits.apply()
    try:
        verdict = check(Path(order["source"]), Path(order["target"]), limits, trusted=order["trusted"] is True)
    except PackageError as error:
        verdict = {"place": error.place, "reason": error.reason}
    json.dump(verdict, sys.stdout)


if __name__ == "__main__":
    main()
