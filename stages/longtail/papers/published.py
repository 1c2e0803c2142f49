"""The numbers that the papers print: reports/papers/<paper>/published.csv, with one line per number."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from stages.longtail.console.errors import UserError
from stages.longtail.console.suggestions import suggest
from stages.longtail.files.artifacts import read_csv
from stages.longtail.papers import preset
from stages.longtail.papers.experiment_params import Experiment
from stages.longtail.prediction.accuracy import GROUPS

COLUMNS = [
    *(
        "table",
        "row",
        "protocol",
        "method",
        "overrides",
        "dataset",
        "backbone",
        "profile",
        "ratio",
        "epochs",
        "variant",
    ),
    *("group", "measure", "value", "mark", "note"),
]

TEXT = 0  # the table of numbers that stand in a paper's text, outside of its tables

FRACTION = "a fraction of 1, not percent"  # note of rows for which the paper prints accuracies as fractions


def files(papers: Path) -> list[Path]:
    """published.csv of every paper in the papers' folder."""
    return sorted(papers.glob("*/published.csv"))


def folder_of(papers: Path, paper: str) -> Path:
    """The folder of a paper. Raises UserError, with the closest name, if there is no such paper."""
    known = [path.parent.name for path in files(papers)]
    if paper not in known:
        raise UserError(f"{papers} has no paper '{paper}'{suggest(paper, known)}")
    return papers / paper


def read(path: Path, conf: Path = Path("conf")) -> pd.DataFrame:
    """All cells of one paper.

    Raises UserError, naming file and line, if a line is malformed or names a preset that conf/ does not have.
    """
    frame = read_csv(path)
    if list(frame.columns) != COLUMNS:
        raise UserError(f"{path}:1: expected the columns {', '.join(COLUMNS)}")
    for column in ("table", "ratio", "epochs", "value"):
        number = pd.to_numeric(frame[column], errors="coerce")
        wrong = frame.index[number.isna() & (frame[column] != "")]
        if column in ("table", "value"):
            wrong = frame.index[number.isna()]
        if len(wrong):
            raise UserError(f"{path}:{wrong[0] + 2}: {column} is {frame[column][wrong[0]]!r}, which is not a number")
        frame[column] = number
    cell = [column for column in COLUMNS if column not in ("value", "mark", "note")]
    again = frame.index[frame.duplicated(cell)]
    if len(again):
        raise UserError(f"{path}:{again[0] + 2}: this cell stands in the file already")
    for group in ("method", "protocol"):
        known = {file.stem for file in (conf / group).glob("*.yaml")}
        wrong = frame.index[~frame[group].isin(known | {""})]
        if len(wrong):
            name = frame[group][wrong[0]]
            raise UserError(f"{path}:{wrong[0] + 2}: {group} '{name}' is not a preset in {conf}{suggest(name, known)}")
    return frame


def place(table: float) -> str:
    """A table as text, such as table 3."""
    return "text" if table == TEXT else f"table {int(table)}"


def read_all(papers: Path, conf: Path = Path("conf")) -> pd.DataFrame:
    """All cells of all papers, with a column `paper`; empty if the folder has no file."""
    frames = [read(path, conf).assign(paper=path.parent.name) for path in files(papers)]
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=[*COLUMNS, "paper"])


def cell(params: Experiment, papers: Path, conf: Path) -> tuple[str, dict[str, float]]:
    """The published accuracies of an experiment at its protocol's paper: where they stand, and group -> top-1.

    ('', {}) if its paper prints none, or if the parameters are not the presets' with some row's overrides. A number
    that several tables repeat is taken from the first.
    """
    frame = read_all(papers, conf)
    drawn = frame.ratio.notna()  # others are long-tailed or stepped as they come, which no split here makes
    rows = frame[
        (frame.method == params.method)
        & (frame.protocol == params.protocol.name)
        & (frame.dataset == params.dataset.name)
        & (frame.profile.where(drawn, "none") == params.split.profile)
        & (frame.ratio.where(drawn, 1) == params.split.ratio)
        & (frame.measure == "top1")
        & frame.group.isin(GROUPS)
    ]
    rows = rows.assign(value=rows.value.where(~rows.variant.str.endswith(FRACTION), 100 * rows.value))
    for overrides in rows.overrides.unique():
        if not preset.deviations(params, conf, overrides.split()):
            rows = rows[rows.overrides == overrides].drop_duplicates("group")
            numbers = [int(table) for table in rows.table.unique()]
            tables = f"table {', '.join(map(str, numbers))}" if any(numbers) else place(TEXT)
            where = f"{rows.paper.iloc[0]}, {tables}, row '{rows.row.iloc[0]}'"
            return where, dict(zip(rows.group, rows.value, strict=True))
    return "", {}
