"""Names of the files in a package: which are acceptable, wherever it will be unpacked."""

import unicodedata
from collections.abc import Iterable
from pathlib import PurePosixPath

from inference.registry.artefacts import ALLOWED_SUFFIXES
from inference.registry.packages.limits import MAX_FILES, MAX_FOLDERS_DEEP, MAX_NAME_CHARS
from inference.registry.packages.problems import PackageError, named, placed


def require_acceptable(name: str) -> None:
    """Raises PackageError for a name that leads out of the folder, hides something, or has a suffix that is not data."""
    if not name.isprintable() or len(name) > MAX_NAME_CHARS:
        raise PackageError(placed(name), f"Names are printable and have at most {MAX_NAME_CHARS} characters.")
    if "\\" in name or ":" in name:
        raise PackageError(placed(name), "Names have no backslash and no colon, which other systems read as a place.")
    parts = name.split("/")
    if name.startswith("/") or any(part in {"", ".", ".."} for part in parts):
        raise PackageError(placed(name), "The name leads out of the package.")
    if len(parts) > MAX_FOLDERS_DEEP + 1:
        raise PackageError(placed(name), f"Folders are at most {MAX_FOLDERS_DEEP} deep.")
    if any(part.startswith(".") or part != part.strip() for part in parts) or parts[0] == "__MACOSX":
        raise PackageError(placed(name), "Hidden files do not belong in a package; leave them out.")
    if unicodedata.normalize("NFC", name) != name:
        raise PackageError(placed(name), "The name is not in Unicode's composed form (NFC).")
    if PurePosixPath(name).suffix not in ALLOWED_SUFFIXES:
        raise PackageError(
            placed(name),
            f"Only {', '.join(sorted(ALLOWED_SUFFIXES))} files are accepted; weights must be safetensors, never a pickle.",
        )


def require_distinct(names: Iterable[str]) -> None:
    """Raises PackageError for two names that are one to some file system, and for a file that is a folder too."""
    seen: dict[str, str] = {}
    folders: dict[str, str] = {}
    for count, name in enumerate(names, start=1):
        if count > MAX_FILES:
            raise PackageError("package", f"It has more than {MAX_FILES} files.")
        folded = name.casefold()
        if folded in seen:
            raise PackageError(placed(name), f"The name stands there twice, also as {named(seen[folded])}.")
        seen[folded] = name
        for parent in PurePosixPath(folded).parents:
            folders[str(parent)] = name
    for folded, name in seen.items():
        if folded in folders:
            raise PackageError(placed(name), f"It is a file, but {named(folders[folded])} lies in it.")
