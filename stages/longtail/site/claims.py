"""What a paper's tables claim, by its about.md, with how much of their numbers was reproduced."""

from __future__ import annotations

import re
from dataclasses import dataclass

import pandas as pd

from stages.longtail.papers import scoreboard

NAMED = re.compile(r"Tables? \d+(?:, \d+)*(?: (?:to|and) \d+)?(?=[:,])")
ITEM = re.compile(r"^- (.*?)(?=\n- |\n\n|\Z)", re.M | re.S)


@dataclass(frozen=True)
class Claim:
    """text: Markdown. counts: see scoreboard.counts, of its tables."""

    text: str
    tables: list[int]
    counts: dict[str, object]

    @property
    def run(self) -> bool:
        return not str(self.counts["numbers"]).startswith("0 ")


def read(about: str, cells: pd.DataFrame) -> list[Claim]:
    """The claims in the first section of about.md: each part of a list item that begins with the name of a table.

    about: the text of about.md. cells: those of its paper, see results.cells.
    """
    found = []
    for item in ITEM.findall(sections(about)[1]):
        for part in re.split(rf"(?<=\. )(?={NAMED.pattern})", " ".join(item.split())):
            if tables := numbers(part):
                counts = scoreboard.counts(cells[cells.table.isin(tables)])
                found.append(Claim(part.strip(), tables, counts))
    return found


def sections(about: str) -> tuple[str, str, str]:
    """about.md in three parts: what stands before the first heading of level 2, its section, and the rest."""
    before, _, rest = about.partition("\n## ")
    first, mark, others = rest.partition("\n## ")
    return before, "## " + first, mark + others


def without(section: str) -> str:
    """A section without the list items that are claims."""
    return ITEM.sub(lambda item: "" if numbers(item[1]) else item[0], section)


def numbers(text: str) -> list[int]:
    """The tables that a text begins with: 'Tables 1 to 3: ...' gives [1, 2, 3], 'Tables 2 and 4: ...' gives [2, 4]."""
    named = NAMED.match(text)
    if named is None:
        return []
    found = [int(number) for number in re.findall(r"\d+", named[0])]
    return list(range(found[0], found[-1] + 1)) if " to " in named[0] else found
