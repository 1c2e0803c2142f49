"""An analysis measures runs into a csv and draws a figure from the csv alone; a page shows all of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from stages.longtail.analyses.runs import Run
from stages.longtail.figures import svg
from stages.longtail.files.artifacts import write_csv, write_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Analysis:
    """A figure or table of a paper, for any number of runs on one subset.

    stem begins the names of its files. title and caption stand on the page; the caption names units, and what the paper
    leaves open. measure makes rows from runs, with a column `run` if a row is about one run. draw makes a figure of
    rows. needs is `checkpoint`, or `results` if the files in git are enough.
    """

    stem: str
    title: str
    caption: str
    measure: Callable[[Sequence[Run]], pd.DataFrame]
    draw: Callable[[pd.DataFrame, Figure], None]
    needs: str = "results"
    size: tuple[float, float] = (6.4, 4.0)  # inches


def by_run(measure: Callable[[Run], pd.DataFrame | None]) -> Callable[[Sequence[Run]], pd.DataFrame]:
    """Make a `measure` of one that measures a single run; it adds the column `run`.

    measure: returns None for a run that the analysis is not about.
    """

    def of_all(runs: Sequence[Run]) -> pd.DataFrame:
        frames = [(run.name, measure(run)) for run in runs]
        parts = [frame.assign(run=name) for name, frame in frames if frame is not None]
        if not parts:
            return pd.DataFrame()
        rows = pd.concat(parts, ignore_index=True)
        return rows[["run", *(name for name in rows if name != "run")]]

    return of_all


def write(analyses: Sequence[Analysis], runs: Sequence[Run], folder: Path) -> list[str]:
    """Write <stem>-<subset>.csv and .svg for each analysis and subset.

    Rows of runs that are not among `runs`, or that cannot be measured on this machine, stay in the csv unchanged.

    Args:
        analyses: of one paper.
        runs: to measure.
        folder: to write to.

    Returns:
        One line per run that was left out, with the reason.
    """
    left_out = []
    if any(analysis.needs == "checkpoint" for analysis in analyses):
        left_out = [f"{run.name}: {run.checkpoint} is not here" for run in runs if not run.checkpoint.is_file()]
    for subset in dict.fromkeys(run.subset for run in runs):
        mine = [run for run in runs if run.subset == subset]
        trained = [run for run in mine if run.checkpoint.is_file()]
        for analysis in analyses:
            rows = analysis.measure(trained if analysis.needs == "checkpoint" else mine)
            if not rows.empty:
                path = folder / f"{analysis.stem}-{subset}.csv"
                write_csv(path, _merge(path, rows))
                save_figure(analysis, path)
    return left_out


def _merge(path: Path, rows: pd.DataFrame) -> pd.DataFrame:
    """The rows together with the file's rows of other runs, in alphabetical order of the runs."""
    rows = rows.rename(columns=str)  # as they are read from a file, or columns with numbers for names stand there twice
    if "run" not in rows:
        return rows
    if path.is_file():
        before = pd.read_csv(path)
        rows = pd.concat([before[~before.run.isin(rows.run)], rows], ignore_index=True)
    return rows.sort_values("run", kind="stable", ignore_index=True)


def save_figure(analysis: Analysis, path: Path) -> None:
    """Draw the csv at `path` beside it, as svg: the same bytes for the same csv."""
    with svg.figure(analysis.size) as figure:
        analysis.draw(pd.read_csv(path), figure)
        write_text(path.with_suffix(".svg"), svg.text(figure))


def write_page(paper: str, analyses: Sequence[Analysis], folder: Path) -> None:
    """README.md with every figure that is in the folder, and what <stem>-<subset>.md says of it where that exists."""
    parts = [f"# {paper}: the paper's own analyses", "Each figure is drawn from its csv: `python -m stages.analyse`."]
    for analysis in analyses:
        for path in sorted(folder.glob(f"{analysis.stem}-*.csv")):
            subset = path.stem.removeprefix(f"{analysis.stem}-")
            parts.append(f"## {analysis.title}, {subset}")
            parts.append(f"![{analysis.title}]({path.stem}.svg)")
            rows = pd.read_csv(path)
            names = ", ".join(f"`{name}`" for name in rows.run.unique()) if "run" in rows else ""
            runs = f" Runs: {names}." if names else ""
            parts.append(f"{analysis.caption}{runs} [csv]({path.name})")
            if (note := path.with_suffix(".md")).is_file():
                parts.append(note.read_text().strip())
    write_text(folder / "README.md", "\n\n".join(parts) + "\n")
