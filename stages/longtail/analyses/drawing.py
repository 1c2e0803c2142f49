"""Drawing that several figures have in common."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pandas as pd

if TYPE_CHECKING:
    from matplotlib.figure import Figure

GROUP_COLOURS = {"all": "black", "many": "C0", "medium": "C1", "few": "C2"}
STYLES = ("-", "--", ":", "-.")
NAMED = 20  # of more classes than this, the x-axis does not name each


def labels(frame: pd.DataFrame) -> dict[str, str]:
    """For each run the part of its name that the others do not have: the method, if they share a subset.

    A variant of another run that is another method, such as joint+method=crt, has that method's name.
    """
    names = list(dict.fromkeys(frame.run))
    bare = [re.sub(r"[^-]+\+method=", "", name.rpartition("/")[2]) for name in names]
    parts = [name.split("-") for name in bare]
    shared = 0
    while len(names) > 1 and all(len(part) > shared + 1 and part[shared] == parts[0][shared] for part in parts):
        shared += 1
    return {name: "-".join(part[shared:]) for name, part in zip(names, parts, strict=True)}


def class_axis(axes: Any, frame: pd.DataFrame) -> None:
    """Classes on the x-axis, the largest first; with up to NAMED, the number of training images under each."""
    classes = frame.drop_duplicates("rank").sort_values("rank")
    if len(classes) <= NAMED:
        axes.set_xticks(classes["rank"], [str(count) for count in classes["count"]], rotation=45)
        axes.set_xlabel("training images of the class")
    else:
        axes.set_xlabel("classes, the largest first")


def grid(figure: Figure, count: int, columns: int) -> list[Any]:
    """`count` panels with one y-axis, at most `columns` beside each other; each further row makes the figure higher."""
    rows = -(-count // columns)
    width, height = figure.get_size_inches()
    figure.set_size_inches(width, height * (1 + 0.75 * (rows - 1)))
    panels = figure.subplots(rows, min(count, columns), sharex=True, sharey=True, squeeze=False).ravel()
    for place, axes in enumerate(panels):
        axes.set_visible(place < count)
        axes.tick_params(labelbottom=place + columns >= count)  # the lowest of its column
    return list(panels[:count])


def whole_numbers(axes: Any) -> None:
    """No ticks between whole numbers of epochs on the x-axis, of which a short run has few."""
    axes.xaxis.get_major_locator().set_params(integer=True)


def colours(names: Any) -> dict[str, str]:
    """A colour for each different name, in their order; after ten they begin again."""
    return {name: f"C{number % 10}" for number, name in enumerate(dict.fromkeys(names))}


def by_class(axes: Any, frame: pd.DataFrame, column: str, *, legend: bool = True) -> None:
    """Draw one line per run: `column` against the classes. Dashes differ, so that two equal runs can both be seen."""
    names = labels(frame)
    for number, (run, mine) in enumerate(frame.groupby("run", sort=False)):
        marker = "." if len(mine) <= NAMED else ""
        style = STYLES[number % 4]
        axes.plot(mine["rank"], mine[column], style, marker=marker, color=f"C{number % 10}", label=names[str(run)])
    class_axis(axes, frame)
    if legend:
        axes.legend()
