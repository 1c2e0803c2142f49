"""Figures as svg, the same bytes for the same numbers, so that git shows a change only where there is one."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@contextmanager
def figure(size: tuple[float, float], style: dict[str, Any] | None = None) -> Iterator[Figure]:
    """A context with an empty figure, which `text` turns into svg before it ends.

    Args:
        size: width and height, inches.
        style: matplotlib's settings (rcParams) that differ from those of all figures here.
    """
    import matplotlib  # here: its import takes longer than most of what stages do without figures
    from matplotlib.figure import Figure

    ours: Any = {"svg.hashsalt": "longtail", "svg.fonttype": "none", "font.size": 9}
    with matplotlib.rc_context(ours | (style or {})):
        yield Figure(size, layout="constrained")


def text(figure: Figure) -> str:
    """The figure as svg, without a date and without spaces at the ends of lines."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    return "\n".join(line.rstrip() for line in buffer.getvalue().splitlines()) + "\n"
