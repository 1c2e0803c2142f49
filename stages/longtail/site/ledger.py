"""The discrepancy ledger, line by line."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Line:
    """A line of the ledger.

    number is its line in the file. cells has, as Markdown: paper and section, what the paper says, what common code
    does, what we do, the difference.
    """

    number: int
    section: str
    cells: tuple[str, ...]

    @property
    def place(self) -> str:
        """Its address in the site."""
        return f"ledger.html#line-{self.number}"


def read(path: Path) -> list[Line]:
    """All lines of the tables, except their headings."""
    lines, section = [], ""
    for number, text in enumerate(path.read_text().splitlines(), 1):
        if text.startswith("## "):
            section = text.removeprefix("## ")
        elif text.startswith("| ") and not text.startswith("| paper, section"):
            lines.append(Line(number, section, tuple(cell.strip() for cell in text.strip("| ").split(" | "))))
    return lines
