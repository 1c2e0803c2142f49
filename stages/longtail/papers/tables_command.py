"""`python -m stages.tables` for the papers: writes their pages, lists missing runs, checks that no cell got worse."""

from __future__ import annotations

import argparse
import io
import subprocess
from pathlib import Path
from typing import Any

import pandas as pd

from stages.longtail.console.errors import UserError
from stages.longtail.papers import board, missing, page, printed_tables, published, requested_runs, results, scoreboard


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--papers", action="store_true", help="write the tables of all papers")
    parser.add_argument("--paper", metavar="NAME", help="write the tables of one, such as switching")
    parser.add_argument("--missing", action="store_true", help="list the runs without results instead")
    parser.add_argument("--check", nargs="?", const="HEAD", metavar="REV", help="compare with a revision (HEAD)")


def chosen(args: Any) -> bool:
    """Whether the command is about the papers. Raises UserError if its options do not go together."""
    if args.missing and args.check:
        raise UserError("--missing lists runs and --check compares tables: one of them")
    if args.papers and (args.paper is not None or args.missing or args.check):
        raise UserError(
            "--papers writes the tables of all papers: leave out --paper, --missing and --check, or --papers"
        )
    return args.papers or args.paper is not None or args.missing or bool(args.check)


def main(args: Any) -> None:
    papers = args.reports / "papers"
    names = [path.parent.name for path in published.files(papers)]
    if args.paper is not None:
        names = [published.folder_of(papers, args.paper).name]
    if args.missing:
        for paper in names:
            frame = missing.missing(results.cells(papers / paper, args.conf), papers / paper, args.conf)
            total, hours = frame["images (millions)"].sum(), frame["hours"].sum()
            most = "" if frame.hours.notna().all() else ", not counting networks without a recorded speed"
            print(f"{paper}: {len(frame)} runs missing, {total:.1f} million images to train, {hours:.0f} hours{most}\n")
            print(frame.fillna({"hours": "-"}).to_markdown(index=False) + "\n")
    elif args.check:
        check({paper: results.cells(papers / paper, args.conf) for paper in names}, papers, args.check)
    else:
        write(papers, names, args.conf)


def write(papers: Path, names: list[str], conf: Path) -> None:
    """Write the tables and the pages of these papers, and the scoreboard of all."""
    cells = {path.parent.name: results.cells(path.parent, conf) for path in published.files(papers)}
    for paper in names:
        printed_tables.write(paper, cells[paper], papers / paper)
        requested_runs.write_metrics(papers / paper)
        page.write(paper, cells[paper], papers / paper, papers / "DISCREPANCIES.md")
    scoreboard.write(cells, papers)
    board.write(papers, list(cells), conf)


def check(cells_of: dict[str, pd.DataFrame], papers: Path, revision: str) -> None:
    """Raise UserError naming the cells that were within their tolerance at `revision` and are not any more."""
    worse = []
    for paper, cells in cells_of.items():
        for number, mine in cells.groupby("table"):
            path = papers / paper / f"table{int(number)}.csv"
            done = subprocess.run(["git", "show", f"{revision}:./{path}"], capture_output=True, text=True)
            if done.returncode:
                if "exists on disk, but not in" in done.stderr or "does not exist in" in done.stderr:
                    continue  # a table that did not exist at the revision
                raise UserError(f"git show {revision}:{path} failed: {done.stderr.strip()}")
            before = pd.read_csv(io.StringIO(done.stdout))
            now = printed_tables.tidy(mine)
            keys = ["row", *printed_tables.HEADERS, "variant"]
            now_within = {_key(row, keys): row.last_within for _, row in now.iterrows()}
            for _, row in before.iterrows():
                was = str(row.last_within) == "True"
                if was and str(now_within.get(_key(row, keys))) != "True":
                    worse.append(f"{paper} {published.place(number)} '{row.row}' ({row.run})")
    if worse:
        raise UserError(f"within the tolerance at {revision}, but no longer: {'; '.join(worse)}")
    print(f"every cell that was within its tolerance at {revision} still is")


def _key(row: pd.Series, names: list[str]) -> tuple[str, ...]:
    return tuple(f"{row[name]:g}" if isinstance(row[name], float | int) else str(row[name] or "nan") for name in names)
