"""What bodies said that came before: a cached answer is asked for again, and its body need not be parsed and hashed again.

Only bodies whose answers came from a cache are kept, so that inputs that are asked for once cost nothing here.
"""

from typing import Final

from inference.engine.preparing import Encoded

_MOST_BYTES: Final = 1024
_MOST: Final = 4096
"""With the largest bodies about 16 MB."""

_Said = tuple[int, str, bytes]


class Bodies:
    """Of one process: by tenant, API version and body."""

    def __init__(self) -> None:
        self._encoded: dict[_Said, Encoded] = {}

    def encoded(self, tenant_id: int, api_version: str, body: bytes) -> Encoded | None:
        """What this body said when it was last answered, perhaps by another version of its model."""
        return self._encoded.get((tenant_id, api_version, body))

    def keep(self, tenant_id: int, api_version: str, body: bytes, encoded: Encoded) -> None:
        """A cache had the answer to it."""
        if len(body) > _MOST_BYTES:
            return
        if len(self._encoded) >= _MOST:
            self._encoded.clear()
        self._encoded[tenant_id, api_version, body] = encoded
