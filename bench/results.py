"""What a scenario found: tables of figures and what is held against a target."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Target:
    """A claim, the figure that was measured, and whether it holds."""

    claim: str
    measured: str
    met: bool


@dataclass(frozen=True, slots=True)
class Result:
    """One scenario. The first row of ``table`` is its heading."""

    scenario: str
    what: str
    table: Sequence[Sequence[str]]
    targets: Sequence[Target]
    notes: Sequence[str] = ()

    @property
    def met(self) -> bool:
        return all(target.met for target in self.targets)

    def markdown(self) -> str:
        """A section that reads well on a terminal, too."""
        lines = [f"### {self.scenario}", "", self.what, "", *_table(self.table), ""]
        lines += [f"- {note}" for note in self.notes]
        lines += [
            f"- **{'met' if target.met else 'NOT MET'}**: {target.claim} — measured {target.measured}"
            for target in self.targets
        ]
        return "\n".join(lines)


def _table(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [_row(row, widths) for row in rows]
    return [lines[0], _row(["-" * width for width in widths], widths), *lines[1:]]


def _row(cells: Sequence[str], widths: Sequence[int]) -> str:
    return "| " + " | ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)) + " |"
