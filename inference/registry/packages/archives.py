"""Reading a zip from an untrusted maker: every bound is checked before it is needed, and again while bytes flow.

What the directory of a zip says is a claim. Entry count and sizes are refused by the claim, which costs nothing, and then
held against the bytes that really come out; names, links, encryption and methods are refused before anything is written.
"""

import errno
import os
import stat
import struct
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO, Final

from inference.registry.packages.limits import FREE_RATIO_BYTES, MAX_FILES, MAX_RATIO, Limits
from inference.registry.packages.names import require_acceptable, require_distinct
from inference.registry.packages.problems import PackageError, placed
from inference.registry.packages.tables import CARD_FILE

ARCHIVE: Final = "package"
_CHUNK: Final = 1024 * 1024
_END: Final = struct.Struct("<4s4H2LH")
_ZIP64_LOCATOR: Final = b"PK\x06\x07"
_ENTRY_BYTES: Final = 46 + 65_535 * 3
_ENCRYPTED: Final = 0x1 | 0x40 | 0x2000
_BROKEN: Final = (
    zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, struct.error, ValueError, IndexError, RuntimeError,
)  # fmt: skip
_METHODS: Final = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)


def unpack(archive: BinaryIO, target: Path, limits: Limits) -> None:
    """Write the files of a zip into the empty folder ``target``. Raises PackageError.

    A single folder around everything, as file managers make it, is left out.
    """
    _require_small_directory(archive)
    try:
        with zipfile.ZipFile(archive) as opened:
            entries = _entries(opened, limits)
            written = 0
            for name, entry in entries.items():
                written += _write(opened, entry, target / name, limits.max_bytes - written)
    except _BROKEN as error:
        raise PackageError(ARCHIVE, f"The zip cannot be read: {error}") from error
    except OSError as error:
        if error.errno == errno.EINVAL:  # zipfile went to a place before the beginning
            raise PackageError(ARCHIVE, "The zip cannot be read: a place in it lies outside of it.") from error
        raise


def _require_small_directory(archive: BinaryIO) -> None:
    """Judge by the last 22 bytes how many entries there are, before zipfile reads all of them into memory."""
    size = archive.seek(0, os.SEEK_END)
    archive.seek(0)
    if size < _END.size or archive.read(4) != b"PK\x03\x04":
        raise PackageError(ARCHIVE, "This is no zip with files in it.")
    archive.seek(size - _END.size)
    magic, _, _, here, entries, directory_bytes, _, comment = _END.unpack(archive.read(_END.size))
    if magic != b"PK\x05\x06" or comment:
        raise PackageError(ARCHIVE, "The zip is cut off, or has a comment or other bytes at its end.")
    archive.seek(max(0, size - _END.size - 20))
    if archive.read(4) == _ZIP64_LOCATOR:
        raise PackageError(ARCHIVE, "The zip has 64-bit entries; push a folder of this size with manage.py model push.")
    if here != entries or entries > 2 * MAX_FILES or directory_bytes > entries * _ENTRY_BYTES:
        raise PackageError(ARCHIVE, f"The zip has more than {MAX_FILES} files.")
    archive.seek(0)


def _entries(opened: zipfile.ZipFile, limits: Limits) -> Mapping[str, zipfile.ZipInfo]:
    """The files by the name under which they are written, each one checked by what the directory claims of it."""
    files = [entry for entry in opened.infolist() if not _is_folder(entry)]
    if not files:
        raise PackageError(ARCHIVE, "The zip has no files.")
    for entry in files:
        _require_plain(entry)
    prefix = _wrapping_folder([entry.filename for entry in files])
    found = {}
    for entry in files:
        name = entry.filename.removeprefix(prefix)
        require_acceptable(name)
        if entry.file_size > FREE_RATIO_BYTES and entry.file_size > MAX_RATIO * max(1, entry.compress_size):
            raise PackageError(placed(name), f"It unpacks to more than {MAX_RATIO} times its size, as a zip bomb does.")
        if name in found:
            raise PackageError(placed(name), "The name stands there twice.")
        found[name] = entry
    require_distinct(found)
    total = sum(entry.file_size for entry in files)
    if total > limits.max_bytes:
        raise PackageError(
            ARCHIVE, f"The files have {total:,} bytes unpacked; at most {limits.max_bytes:,} are accepted."
        )
    return found


def _is_folder(entry: zipfile.ZipInfo) -> bool:
    return entry.is_dir() and entry.file_size == 0


def _require_plain(entry: zipfile.ZipInfo) -> None:
    """A regular file, packed by a common method, and not encrypted."""
    place = placed(entry.filename)
    mode = entry.external_attr >> 16
    if stat.S_IFMT(mode) not in {0, stat.S_IFREG}:
        raise PackageError(place, "It is a link or another special file; only regular files are accepted.")
    if entry.flag_bits & _ENCRYPTED:
        raise PackageError(place, "It is encrypted.")
    if entry.compress_type not in _METHODS:
        raise PackageError(place, "It is packed by another method than deflate.")
    if entry.orig_filename != entry.filename:
        raise PackageError(place, "Its name has a character that readers of zips understand differently.")


def _wrapping_folder(names: list[str]) -> str:
    """``reviews/`` when everything lies in it and the card right below, else nothing."""
    if CARD_FILE in names:
        return ""
    first = names[0].partition("/")[0] + "/"
    return first if f"{first}{CARD_FILE}" in names and all(name.startswith(first) for name in names) else ""


def _write(opened: zipfile.ZipFile, entry: zipfile.ZipInfo, target: Path, room: int) -> int:
    """Unpack one file and give its size; it may have no byte more than it claimed, and ``room`` at most."""
    target.parent.mkdir(parents=True, exist_ok=True)
    written = 0
    with opened.open(entry) as source, target.open("xb") as sink:
        while chunk := source.read(_CHUNK):
            written += len(chunk)
            if written > min(room, entry.file_size):
                raise PackageError(placed(entry.filename), "It unpacks to more bytes than it claims.")
            sink.write(chunk)
    if written != entry.file_size:
        raise PackageError(placed(entry.filename), "It unpacks to fewer bytes than it claims.")
    return written
