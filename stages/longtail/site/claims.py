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
    """Of each list item in the first section, every part that begins with a table.

    about: the text of about.md; cells: those of its paper, see results.cells.
    """
    found = []
    for item in ITEM.findall(sections(about)[1]):
        for part in re.split(rf"(?<=\. )(?={NAMED.pattern})", " ".join(item.split())):
            if tables := numbers(part):
                counts = scoreboard.counts(cells[cells.table.isin(tables)])
                found.append(Claim(part.strip(), tables, counts))
    return found


def sections(about: str) -> tuple[str, str, str]:
    """What stands before the first heading of the second level, its section, and all after it."""
    before, _, rest = about.partition("\n## ")
    first, mark, others = rest.partition("\n## ")
    return before, "## " + first, mark + others


def without(section: str) -> str:
    """A section without the list items that are claims."""
    return ITEM.sub(lambda item: "" if numbers(item[1]) else item[0], section)


def numbers(text: str) -> list[int]:
    """Of the tables that a text begins with: [1, 2, 3] of 'Tables 1 to 3: ...', [2, 4] of 'Tables 2 and 4: ...'."""
    named = NAMED.match(text)
    if named is None:
        return []
    found = [int(number) for number in re.findall(r"\d+", named[0])]
    return list(range(found[0], found[-1] + 1)) if " to " in named[0] else found
