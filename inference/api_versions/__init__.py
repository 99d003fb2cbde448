"""How each API version is written, without any transport: one module a version, each a description of what changed.

``v2.py`` declares ``VERSION``; a new API version is such a file (and a row of ``tenants.ApiVersion``, which says when it was
released). The modules are found by listing this package. Views, the migration guides, rewritten calls and rehearsals all
read the same descriptions.
"""

import importlib
import pkgutil
import re
from collections.abc import Iterator
from typing import Final

from inference.api_versions.changes import Change
from inference.api_versions.description import ApiDescription, Descriptions, Example, Native

__all__ = [
    "DESCRIPTIONS",
    "VERSIONS",
    "ApiDescription",
    "Change",
    "Descriptions",
    "Example",
    "Native",
    "answer_down",
    "changes",
    "example",
    "parse",
    "render",
    "request_up",
]


def _found() -> Iterator[ApiDescription]:
    for module in pkgutil.iter_modules(__path__):
        if re.fullmatch(r"v\d+(_\d+)?", module.name):
            yield importlib.import_module(f"{__name__}.{module.name}").VERSION


DESCRIPTIONS: Final = Descriptions(_found())
VERSIONS: Final = DESCRIPTIONS.versions
"""Every API version by its name, oldest first."""

parse: Final = DESCRIPTIONS.parse
render: Final = DESCRIPTIONS.render
changes: Final = DESCRIPTIONS.changes
request_up: Final = DESCRIPTIONS.request_up
answer_down: Final = DESCRIPTIONS.answer_down
example: Final = DESCRIPTIONS.example
