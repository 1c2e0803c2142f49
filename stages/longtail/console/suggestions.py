"""Suggestions for a misspelt word, the end of many error messages."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def suggest(word: str, known: Iterable[str]) -> str:
    """The known word that is closest, as ": did you mean 'x'?"; if none is close, all the known words."""
    known = list(known)
    near = difflib.get_close_matches(word, known, n=1)
    return f": did you mean '{near[0]}'?" if near else f" (known: {', '.join(known)})"
