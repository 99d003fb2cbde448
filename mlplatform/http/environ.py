"""From a request as uvicorn has it (an ASGI scope) to the environment that WSGI knows (PEP 3333)."""

import sys
from collections.abc import Iterator, Mapping
from typing import Any, Final
from urllib.parse import unquote_to_bytes

_REMEMBERED_NAMES: Final = 512
_OWN_NAMES: Final = {b"content-type": "CONTENT_TYPE", b"content-length": "CONTENT_LENGTH"}
_names: Final[dict[bytes, str]] = dict(_OWN_NAMES)


class FileWrapper:
    """What an application returns for a file (``wsgi.file_wrapper``): it is sent without a thread that waits for its reader."""

    def __init__(self, file: Any, block_size: int = 0) -> None:
        self.file = file

    def __iter__(self) -> Iterator[bytes]:
        while piece := self.file.read(65_536):
            yield piece


_BASE: Final[Mapping[str, Any]] = {
    "SCRIPT_NAME": "",
    "wsgi.version": (1, 0),
    "wsgi.multithread": True,
    "wsgi.multiprocess": True,
    "wsgi.run_once": False,
    "wsgi.input_terminated": True,
    "wsgi.errors": sys.stderr,
    "wsgi.file_wrapper": FileWrapper,
}


def of_scope(scope: Mapping[str, Any]) -> dict[str, Any]:
    """The environment without ``wsgi.input``.

    Headers whose names have an underscore are left out, for they would stand for others: ``X_Forwarded_For`` is not what a
    proxy wrote.
    """
    raw_path: bytes = scope["raw_path"]
    path = unquote_to_bytes(raw_path) if b"%" in raw_path else raw_path
    client, server = scope["client"], scope["server"]
    environ: dict[str, Any] = {
        **_BASE,
        "REQUEST_METHOD": scope["method"],
        "PATH_INFO": path.decode("latin-1"),
        "QUERY_STRING": scope["query_string"].decode("latin-1"),
        "SERVER_PROTOCOL": "HTTP/" + scope["http_version"],
        "REMOTE_ADDR": client[0] if client else "",
        "REMOTE_PORT": str(client[1]) if client else "",
        "SERVER_NAME": server[0] if server else "localhost",
        "SERVER_PORT": str(server[1]) if server else "80",
        "wsgi.url_scheme": scope["scheme"],
    }
    for raw_name, raw_value in scope["headers"]:
        name = _names.get(raw_name) or _name(raw_name)
        value = raw_value.decode("latin-1")
        if name in environ:
            value = environ[name] + ("; " if name == "HTTP_COOKIE" else ",") + value
        environ[name] = value
    environ.pop("", None)
    return environ


def _name(raw: bytes) -> str:
    name = "" if b"_" in raw else "HTTP_" + raw.decode("latin-1").upper().replace("-", "_")
    # Names are the client's choice: those that come first are remembered, which are those of ordinary clients.
    if len(_names) < _REMEMBERED_NAMES:
        _names[raw] = name
    return name
