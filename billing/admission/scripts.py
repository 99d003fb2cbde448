"""The Lua scripts of admission. Redis has no modules, so a script is its libraries and itself, joined into one text."""

import re
from functools import cached_property
from pathlib import Path
from typing import Final

from mlplatform.lib.redis import Script

_DIRECTORY: Final = Path(__file__).parent.parent / "lua"
_COMMENT = re.compile(r"^\s*--.*$", re.MULTILINE)
_INDENT = re.compile(r"^[ \t]+", re.MULTILINE)


class JoinedScript(Script):
    """A script that begins with the texts of its libraries, in order.

    Its own first line, which holds the script's flags, stays first. Comments and indents are dropped, because some runs
    send the whole text; line breaks stay, so that errors still name lines.
    """

    def __init__(self, name: str, *, libraries: tuple[str, ...]) -> None:
        super().__init__(_DIRECTORY / name)
        self.libraries = libraries

    @cached_property
    def source(self) -> str:
        flags, own = self.path.read_text().split("\n", 1)
        parts = [(_DIRECTORY / library).read_text() for library in self.libraries]
        body = "\n".join([*parts, own])
        return f"{flags}\n{_INDENT.sub('', _COMMENT.sub('', body))}"


ADMIT: Final = JoinedScript("admit.lua", libraries=("time.lua", "calendar.lua", "limits.lua", "holds.lua"))
SETTLE: Final = JoinedScript("settle.lua", libraries=("time.lua", "holds.lua"))
RELEASE: Final = JoinedScript("release.lua", libraries=("time.lua", "holds.lua"))
SWEEP: Final = JoinedScript("sweep.lua", libraries=("time.lua", "holds.lua"))
REBUILD: Final = JoinedScript("rebuild.lua", libraries=())
