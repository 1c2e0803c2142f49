"""A paper's tables, laid out as printed, ours beside the published number: Markdown, LaTeX and csv."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from tabulate import tabulate

from stages.longtail.files.artifacts import write_text
from stages.longtail.papers import results

# What tells two cells of a row apart; those that vary in a table head its columns.
HEADERS = ["dataset", "profile", "ratio", "backbone", "epochs", "measure", "group"]
SELECTIONS = {"last": "last epoch", "best": "best test epoch"}


def write(paper: str, cells: pd.DataFrame, folder: Path) -> None:
    """Write table<N>.md, .tex and .csv of every table. cells: see results.cells."""
    for number, mine in cells.groupby("table", sort=True):
        stem, grid = folder / f"table{int(number)}", as_printed(mine)
        write_text(stem.with_suffix(".md"), markdown(paper, int(number), mine, grid))
        write_text(stem.with_suffix(".tex"), tabulate(grid, headers="keys", tablefmt="latex", showindex=False) + "\n")
        write_text(stem.with_suffix(".csv"), tidy(mine).to_csv(index=False, lineterminator="\n"))


def markdown(paper: str, number: int, cells: pd.DataFrame, grid: pd.DataFrame) -> str:
    table = grid.to_markdown(index=False, disable_numparse=True)
    return f"# {paper}, table {number}\n\n{table}\n\n{caption(cells)}\n"


def as_printed(cells: pd.DataFrame) -> pd.DataFrame:
    """Rows and columns as printed; a row that was run stands twice, by its last and by its best test epoch."""
    heads = [name for name in HEADERS if (cells.groupby("row", sort=False)[name].nunique(dropna=False) > 1).any()]
    cells = cells.assign(column=[_column(cell, heads) for _, cell in cells.iterrows()])
    columns = cells.column.unique()
    lines = []
    for row, mine in cells.groupby("row", sort=False):
        ran = mine["last"].notna().any()
        for which, name in SELECTIONS.items() if ran else [("last", "")]:
            shown = {cell.column: text(cell, which) for _, cell in mine.iterrows()}
            lines.append({"row": row, "ours": name, **{column: shown.get(column, "") for column in columns}})
    return pd.DataFrame(lines)


def _column(cell: pd.Series, heads: list[str]) -> str:
    parts = [f"{cell[name]:g}" if isinstance(cell[name], float) else str(cell[name]) for name in heads]
    return " ".join(part for part in parts if part not in ("", "nan")) or str(cell.measure)


def text(cell: pd.Series, which: str) -> str:
    """ours ± std (published, difference), with a ! where the difference is over the tolerance."""
    digits = _digits(cell)
    if pd.isna(cell[which]):
        return f"- ({cell.value:.{digits}f})" if cell.run else f"({cell.value:.{digits}f})"
    std = "" if pd.isna(cell[f"{which}_std"]) else f" ± {cell[f'{which}_std']:.{digits}f}"
    mark = "" if results.within(cell.to_frame().T, which).iloc[0] else " !"
    difference = cell[which] - cell.value
    return f"{cell[which]:.{digits}f}{std} ({cell.value:.{digits}f}, {difference:+.{digits}f}){mark}"


def _digits(cell: pd.Series) -> int:
    """Decimals as printed; accuracies have at least one."""
    printed = len(f"{cell.value:.6f}".rstrip("0").split(".")[1])
    return max(1, printed) if cell.measure in ("top1", "top5") else printed


def caption(cells: pd.DataFrame) -> str:
    runnable, run = cells[cells.run != ""], cells[cells["last"].notna()]
    data = ", ".join(cells.dataset.unique())
    seeds = sorted(run.seeds.unique())
    kinds = runnable[["protocol", "schedule"]].drop_duplicates().itertuples(index=False)
    protocols = ", ".join(f"`{kind.protocol}` ({kind.schedule} epochs)" for kind in kinds)
    lines = [
        f"Data: {data}. Ours: ours ± standard deviation over seeds (published, ours - published); `!` where the "
        "difference is over max(1.0, 2 standard deviations), in points of accuracy; for other measures the 1.0 is 0.01 "
        "of a fraction, or a tenth of the number. `-`: not run yet; a number alone in brackets: copied by the paper "
        "from elsewhere, a method that is not ours, or one that needs weights that are not at hand.",
        "The last epoch is the result. The best test epoch is chosen by looking at the test set, seed by seed; it "
        "stands here because papers seldom say which of the two they print.",
    ]
    if len(run):
        counts = f"{seeds[0]}" if len(seeds) == 1 else f"{seeds[0]} to {seeds[-1]}"
        lines.append(f"Protocol {protocols}; seeds a cell: {counts}; {len(run)} of {len(runnable)} cells were run.")
    elif len(runnable):
        lines.append(f"Protocol {protocols}; none of its {len(runnable)} cells was run yet.")
    return "\n\n".join(lines)


def tidy(cells: pd.DataFrame) -> pd.DataFrame:
    """A line a cell."""
    names = ["row", "run", *HEADERS, "variant", "value", *results.MEASURED, "seeds"]
    frame = cells[names].rename(columns={"value": "published"}).round(6)
    return frame.assign(**{f"{which}_within": results.within(cells, which) for which in SELECTIONS})
