"""``make check``: tests go through public doors. A test that patches or calls a private name of the product holds the product's
insides still, and passes when what callers see is wrong.

Looked for in the syntax of each test: an import of a private name, a private attribute of something that was imported from
the product, and a private name given to ``setattr`` of pytest's or of Python's.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]
_PRODUCT: Final = ("mlplatform", "tenants", "billing", "inference")
_SETTERS: Final = frozenset({"setattr", "delattr", "object", "patch"})


def private_uses(source: str) -> Iterator[tuple[int, str]]:
    """The line and the name of each private name of the product that a test's source uses."""
    tree = ast.parse(source)
    imported: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and _of_product(node.module):
            for alias in node.names:
                imported.add(alias.asname or alias.name)
                if _is_private(alias.name):
                    yield node.lineno, alias.name
        elif isinstance(node, ast.Import):
            imported.update(
                alias.asname or alias.name.partition(".")[0] for alias in node.names if _of_product(alias.name)
            )
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and _is_private(node.attr) and _root(node.value) in imported:
            yield node.lineno, node.attr
        elif isinstance(node, ast.Call) and _name(node.func) in _SETTERS:
            for argument in node.args[:2]:
                if isinstance(argument, ast.Constant) and isinstance(argument.value, str):
                    last = argument.value.rpartition(".")[2]
                    if _is_private(last):
                        yield node.lineno, last


def _of_product(module: str | None) -> bool:
    return module is not None and module.partition(".")[0] in _PRODUCT


def _is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")


def _root(node: ast.expr) -> str:
    while isinstance(node, ast.Attribute):
        node = node.value
    return node.id if isinstance(node, ast.Name) else ""


def _name(node: ast.expr) -> str:
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def main() -> int:
    """Name each place; return 1 where there is one."""
    wrong = 0
    for path in sorted((ROOT / "tests").rglob("*.py")):
        place = path.relative_to(ROOT).as_posix()
        for line, name in sorted(private_uses(path.read_text())):
            print(f"{place}:{line}: {name} is private to the product")
            wrong += 1
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
