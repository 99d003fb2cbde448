"""Random bytes of the operating system, drawn many at a time: for each id by itself the system call costs more than the id.

For what must differ, such as ids. Secrets are drawn one by one, by the module `secrets`.
"""

import os
from collections import deque
from typing import Final

BLOCK: Final = 16
_BLOCKS_A_DRAW: Final = 256

_ready: deque[bytes] = deque()
# A child would hand out what its parent hands out, too.
os.register_at_fork(after_in_child=_ready.clear)


def block() -> bytes:
    """16 random bytes, given once; of any thread and any forked process."""
    try:
        return _ready.pop()
    except IndexError:
        drawn = os.urandom(BLOCK * _BLOCKS_A_DRAW)
        _ready.extend(drawn[start : start + BLOCK] for start in range(BLOCK, len(drawn), BLOCK))
        return drawn[:BLOCK]
