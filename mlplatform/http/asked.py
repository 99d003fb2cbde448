"""A request as it comes: its head, then its body."""

Headers = list[tuple[bytes, bytes]]
"""Names in lower case."""


class Asked:
    """One request of a connection. uvicorn is told of it only when the application must have it; then it answers what uvicorn
    asks its parser, which may have gone on to the next request."""

    __slots__ = ("at_door", "body", "headers", "is_told", "is_whole", "keep_alive", "method", "url", "version")

    def __init__(self, method: bytes, url: bytes, headers: Headers, *, version: str, keep_alive: bool) -> None:
        self.method = method
        self.url = url
        self.headers = headers
        self.version = version
        self.keep_alive = keep_alive
        self.body = bytearray()
        """What came of it, while uvicorn is not told."""
        self.is_whole = False
        self.at_door = False
        """Whether the door has taken it, and answers it or hands it on."""
        self.is_told = False

    # What uvicorn asks its parser.

    def get_method(self) -> bytes:
        return self.method

    def get_http_version(self) -> str:
        return self.version

    def should_keep_alive(self) -> bool:
        return self.keep_alive

    def should_upgrade(self) -> bool:
        return False
