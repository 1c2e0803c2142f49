"""A paper's tables as printed, the reproduced number beside the published one: Markdown, LaTeX and csv."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from tabulate import tabulate

from stages.longtail.evaluation import rounding
from stages.longtail.files.artifacts import write_text
from stages.longtail.papers import published, results

# The columns that tell two cells of a row apart; those that vary within a table head its columns.
HEADERS = ["dataset", "profile", "ratio", "backbone", "epochs", "measure", "group"]


def write(paper: str, cells: pd.DataFrame, folder: Path) -> None:
    """Write table<N>.md, .tex and .csv of every table. cells: see results.cells."""
    for number, mine in cells.groupby("table", sort=True):
        stem = folder / f"table{int(number)}"
        write_text(stem.with_suffix(".md"), markdown(paper, int(number), mine))
        narrow = as_printed(mine.assign(**dict.fromkeys(results.INTERVAL, float("nan"))))
        latex = tabulate(narrow, headers="keys", tablefmt="latex", showindex=False)
        write_text(stem.with_suffix(".tex"), latex + "\n")
        write_text(stem.with_suffix(".csv"), tidy(mine).to_csv(index=False, lineterminator="\n"))


def markdown(paper: str, number: int, cells: pd.DataFrame) -> str:
    if cells["last"].isna().all():
        runnable = int((cells.run != "").sum())
        return (
            f"# {paper}, {published.place(number)}\n\nNo number of this table was run yet. It prints {len(cells)} "
            f"numbers ([csv](table{number}.csv)); for {runnable} of them there is a preset.\n"
        )
    table = as_printed(cells).to_markdown(index=False, disable_numparse=True)
    return f"# {paper}, {published.place(number)}\n\n{table}\n\n{caption(cells)}\n"


def as_printed(cells: pd.DataFrame) -> pd.DataFrame:
    """The table with columns and rows as printed, except that rows that were run come first."""
    cells = with_columns(cells)
    columns = cells.column.unique()
    lines = []
    rows = sorted(cells.groupby("row", sort=False), key=lambda one: bool(one[1]["last"].isna().all()))
    for row, mine in rows:
        ran = mine["last"].notna().any()
        for which, name in results.rules(mine).items() if ran else [("last", "")]:
            shown = {cell.column: text(cell, which) for _, cell in mine.iterrows()}
            lines.append({"row": row, "reproduced": name, **{column: shown.get(column, "") for column in columns}})
    return pd.DataFrame(lines)


def with_columns(cells: pd.DataFrame) -> pd.DataFrame:
    """The cells of one table with one column more: `column`, what heads each cell in the printed table."""
    heads = [name for name in HEADERS if (cells.groupby("row", sort=False)[name].nunique(dropna=False) > 1).any()]
    return cells.assign(column=[_column(cell, heads) for _, cell in cells.iterrows()])


def _column(cell: pd.Series, heads: list[str]) -> str:
    parts = [f"{cell[name]:g}" if isinstance(cell[name], float) else str(cell[name]) for name in heads]
    return " ".join(part for part in parts if part not in ("", "nan")) or str(cell.measure)


def text(cell: pd.Series, which: str) -> str:
    """Reproduced ± std [interval] (published, difference), with a ! where the difference is over the tolerance."""
    digits = decimals(cell)
    printed = rounding.text(cell.value, digits)
    if pd.isna(cell[which]):
        return f"- ({printed})" if cell.run else f"({printed})"
    std = "" if pd.isna(cell[f"{which}_std"]) else f" ± {rounding.text(cell[f'{which}_std'], digits)}"
    low, high = (rounding.text(cell[name], digits) for name in results.INTERVAL)
    sure = f" [{low} to {high}]" if which == "last" and pd.notna(cell.last_low) else ""
    mark = "" if results.within(cell.to_frame().T, which).iloc[0] else " !"
    difference = cell[which] - cell.value
    signed = rounding.text(difference, digits, sign=True)
    return f"{rounding.text(cell[which], digits)}{std}{sure} ({printed}, {signed}){mark}"


def decimals(cell: pd.Series) -> int:
    """Decimals as printed; accuracies have at least one."""
    printed = len(f"{cell.value:.6f}".rstrip("0").split(".")[1])
    return max(1, printed) if cell.measure in ("top1", "top5") else printed


def caption(cells: pd.DataFrame) -> str:
    runnable, run = cells[cells.run != ""], cells[cells["last"].notna()]
    data = ", ".join(cells.dataset.unique())
    seeds = sorted(run.seeds.unique())
    kinds = runnable[["protocol", "schedule"]].drop_duplicates().itertuples(index=False)
    protocols = ", ".join(f"`{kind.protocol}` ({kind.schedule} epochs)" for kind in kinds)
    older = results.without_predictions(run.run[~run.predictions.astype(bool)])
    lines = [
        f"Data: {data}. A cell has the reproduced number ± its standard deviation over seeds [its 95% interval from "
        "the test images] (the published number, the difference). `!` marks a difference above the tolerance: a point "
        "of accuracy, or two standard deviations if that is more; for other measures 0.01 of a fraction, or a tenth of "
        "the number. `-` means not run yet. A published number alone in brackets cannot be run here: the paper copied "
        "it from elsewhere, its method is not ours, or it needs weights that we do not have."
        + (f" {results.NO_INTERVAL}" if (run.last_low.isna() & (run.measure == "top1")).any() else "")
        + (f" {older}" if older else ""),
        "The last epoch is the result. The best test epoch is chosen by looking at the test set, for each seed by "
        "itself. It stands here because papers seldom say which of the two they print."
        + (f" {results.HELD_OUT}" if "selected" in results.rules(cells) else ""),
    ]
    if len(run):
        counts = f"{seeds[0]}" if len(seeds) == 1 else f"{seeds[0]} to {seeds[-1]}"
        lines.append(
            f"Protocol {protocols}. Seeds of each cell: {counts}. {len(run)} of {len(runnable)} cells were run."
            + (f" {other}" if (other := results.in_other_precision(run)) else "")
        )
    elif len(runnable):
        lines.append(f"Protocol {protocols}. None of its {len(runnable)} cells was run yet.")
    if (run.measure == "bias2").any():
        lines.append(_of_accuracy(run))
    return "\n\n".join(lines)


def _of_accuracy(run: pd.DataFrame) -> str:
    """`switching` Table 9: what its printed bias2 is made of, beside it. run: cells that were run, fractions."""
    parts = []
    for row, mine in run.groupby("row", sort=False):
        by_measure = mine[mine.group == "all"].set_index("measure")
        accuracy, printed = by_measure["last"]["top1"], by_measure.value["bias2"]
        parts.append(f"{row} {rounding.text((1 - accuracy) ** 2, 3)} ({rounding.text(printed, 3)})")
    return (
        "The printed bias2 is (1 - accuracy)^2 in every row, which is no bias of several runs. That of the reproduced "
        f"accuracy (printed bias2): {'; '.join(parts)}."
    )


def tidy(cells: pd.DataFrame) -> pd.DataFrame:
    """The cells as a plain table, one row per cell."""
    rules = results.rules(cells)
    measured = [name for which in rules for name in (which, f"{which}_std")]
    if cells.last_low.notna().any():
        measured[2:2] = results.INTERVAL
    names = ["row", "run", *HEADERS, "variant", "value", *measured, "seeds"]
    frame = cells[names].rename(columns={"value": "published"}).round(6)
    return frame.assign(**{f"{which}_within": results.within(cells, which) for which in rules})
