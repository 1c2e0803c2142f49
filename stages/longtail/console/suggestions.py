"""Suggestions for a misspelt word, the end of many error messages."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

SHOWN = 60  # of more known words, so many are shown: a line that nobody reads helps nobody
FEW = 5


def suggest(word: str, known: Iterable[str], lists: str = "") -> str:
    """The known word that is closest, as ": did you mean 'x'?"; if none is close, all the known words.

    Args:
        word: the misspelt one.
        known: what it could be.
        lists: a command that lists what is known, told where that is too much for a line.
    """
    known = list(dict.fromkeys(known))
    if near := difflib.get_close_matches(word, known, n=1):
        return f": did you mean '{near[0]}'?"
    if len(known) <= SHOWN:
        return f" (known: {', '.join(known)})"
    listed = f": {lists} lists them" if lists else ""
    return f" (known: {', '.join(known[:FEW])} and {len(known) - FEW} more{listed})"
