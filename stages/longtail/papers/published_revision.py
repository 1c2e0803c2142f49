"""The revision `published`, whose metrics are the papers' numbers, for `dvc metrics diff published`: make published

A commit on HEAD's tree in which only metrics files are replaced, made without a checkout: the work tree and the index
stay as they are. The same HEAD gives the same commit.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import pandas as pd

from stages.longtail.configuration import parameters
from stages.longtail.console import errors
from stages.longtail.console.errors import UserError
from stages.longtail.papers import grid, published
from stages.longtail.papers.parameters import Experiment
from stages.longtail.prediction.accuracy import GROUPS

IDENTITY = {f"GIT_{who}_{what}": value for who in ("AUTHOR", "COMMITTER") for what, value in (("NAME", "published"),
            ("EMAIL", "published@invalid"), ("DATE", "2000-01-01T00:00:00Z"))}  # fmt: skip


def write(name: str, reports: Path, folder: Path, conf: Path, current: Path) -> list[str]:
    """Tag the revision. Returns lines for the person: what was tagged, or near numbers where there is no exact one."""
    lines = []
    files: dict[Path, dict[str, Any]] = {}
    for path in sorted(folder.glob("*.csv")):
        files |= of_paper(path.stem, published.read(path, conf).assign(paper=path.stem), reports)
    own = Experiment.read(parameters.load(current))
    where, numbers = published.cell(own, folder, conf)
    if numbers:
        files[reports / "metrics.json"] = {"acc": numbers, "best": numbers}
        lines.append(f"{reports}/metrics.json: {where}")
    else:
        lines.append(f"no published number for the current experiment; near ones: {near(own, folder, conf) or 'none'}")
    commit = _commit(files)
    _git("tag", "--force", name, commit)
    lines.append(f"tagged {name}: {len(files)} metrics files; dvc metrics diff {name}")
    return lines


def of_paper(paper: str, cells: pd.DataFrame, reports: Path) -> dict[Path, dict[str, Any]]:
    """The published values in the form of metrics.json, for every run of a paper."""
    result: dict[Path, dict[str, Any]] = {}
    cells = cells.assign(run=[grid.run_name(cell) for _, cell in cells.iterrows()])
    for run, mine in cells[cells.run != ""].groupby("run", sort=False):
        path = reports / paper / "metrics" / str(run) / "metrics.json"
        values: dict[str, Any] = {}
        for _, cell in mine.iterrows():
            if cell.measure == "top1" and cell.group in GROUPS and cell.value > 1:
                for which in ("acc", "best"):
                    values.setdefault(which, {}).setdefault(cell.group, cell.value)
            elif cell.measure == "top5":
                values.setdefault("top5", {}).setdefault(cell.group, cell.value)
            elif cell.group == "all" and cell.measure != "top1":
                values[cell.measure] = cell.value
        if values:
            result[path] = values
    return result


def near(own: Experiment, folder: Path, conf: Path) -> str:
    """Published cells that share the method, or the data set and the ratio, with the current experiment."""
    cells = published.read_all(folder, conf)
    cells = cells[(cells.method != "") & cells.ratio.notna() & (cells.measure == "top1") & (cells.group == "all")]
    same = cells[(cells.method == own.method) & (cells.dataset == own.dataset.name)]
    if same.empty:
        same = cells[cells.method == own.method]
    shown = [f"{c.paper} table {c.table:g} {c.dataset} {c.ratio:g} {c.value:g}" for _, c in same.head(5).iterrows()]
    return "; ".join(shown)


def _commit(files: dict[Path, dict[str, Any]]) -> str:
    with tempfile.TemporaryDirectory() as scratch:
        env = {**os.environ, **IDENTITY, "GIT_INDEX_FILE": str(Path(scratch) / "index")}
        _git("read-tree", "HEAD", env=env)
        for path, content in files.items():
            text = json.dumps(content, indent=2) + "\n"
            blob = _git("hash-object", "-w", "--stdin", stdin=text)
            _git("update-index", "--add", "--cacheinfo", f"100644,{blob},{path.as_posix()}", env=env)
        tree = _git("write-tree", env=env)
        message = "Published numbers in place of measured ones, for dvc metrics diff"
        return _git("commit-tree", tree, "-p", "HEAD", "-m", message, env=env)


def _git(*arguments: str, stdin: str | None = None, env: dict[str, str] | None = None) -> str:
    try:
        done = subprocess.run(["git", *arguments], input=stdin, env=env, capture_output=True, text=True, check=True)
    except FileNotFoundError:
        raise UserError("git is not installed: the published revision is a git tag") from None
    except subprocess.CalledProcessError as error:
        raise UserError(f"git {arguments[0]} failed: {error.stderr.strip()}") from None
    return done.stdout.strip()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tag", default="published", help="name of the tag (published)")
    parser.add_argument("--params", type=Path, default=Path("params.yaml"), help="current experiment (params.yaml)")
    for folder, default in (("reports", "reports"), ("published", "data/published"), ("conf", "conf")):
        parser.add_argument(f"--{folder}", type=Path, default=Path(default), help=f"folder ({default})")
    args = parser.parse_args()
    print("\n".join(write(args.tag, args.reports, args.published, args.conf, args.params)))


if __name__ == "__main__":
    errors.run(main)
