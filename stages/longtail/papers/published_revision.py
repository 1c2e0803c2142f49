"""The revision `published`, whose metrics are the papers' numbers, for `dvc metrics diff published`.

It is a commit with HEAD's tree and the work tree's metrics, in which the printed numbers replace the measured ones, so
that DVC shows the printed numbers and nothing else. It is made without a checkout: work tree and index do not change.
The same files give the same commit.
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
from stages.longtail.files.artifacts import read_json
from stages.longtail.papers import plan, published
from stages.longtail.papers.experiment_params import Experiment
from stages.longtail.prediction.accuracy import GROUPS

IDENTITY = {f"GIT_{who}_{what}": value for who in ("AUTHOR", "COMMITTER") for what, value in (("NAME", "published"),
            ("EMAIL", "published@invalid"), ("DATE", "2000-01-01T00:00:00Z"))}  # fmt: skip

RULES = ("acc", "best", "selected")  # sections of metrics.json: the paper's number stands beside each that a run has


def write(name: str, reports: Path, conf: Path, current: Path) -> list[str]:
    """Tag the revision. Returns lines for the user: what was tagged, and similar numbers if no exact one is printed."""
    lines = []
    papers = reports / "papers"
    files: dict[Path, str] = {}
    for path in published.files(papers):
        printed = published.read(path, conf).assign(paper=path.parent.name)
        files |= of_paper(path.parent, printed)
    count = len(files)
    # The work tree's stages go along; otherwise a run newer than HEAD would have no counterpart.
    for pattern in ("params.yaml", "dvc.yaml"):
        files |= {path: path.read_text() for path in papers.rglob(pattern)}
    own = Experiment.read(parameters.load(current))
    where, numbers = published.cell(own, papers, conf)
    metrics = reports / "metrics.json"
    if metrics.is_file():
        values = dict.fromkeys(RULES, numbers)
        files[metrics] = laid_over(read_json(metrics), values)
    if where:
        lines.append(f"{metrics}: {where}")
    else:
        lines.append(f"no published number for the current experiment{near(own, papers, conf)}")
    _git("tag", "--no-sign", "--force", name, _commit(files))
    lines.append(
        f"tagged {name}, with the printed numbers of {count} runs: dvc metrics diff {name} (the current experiment), "
        f"dvc --cd {papers} metrics diff {name} (the papers')"
    )
    return lines


def of_paper(folder: Path, printed: pd.DataFrame) -> dict[Path, str]:
    """Every metrics file of a paper's runs, with what the paper prints in place of what was measured."""
    result: dict[Path, str] = {}
    printed = printed.assign(run=[plan.run_name(cell) for _, cell in printed.iterrows()])
    of_run = {str(name): mine for name, mine in printed.groupby("run", sort=False)}
    for path in sorted(folder.glob("metrics/*/metrics.json")):
        values: dict[str, Any] = {}
        for _, cell in of_run.get(path.parent.name, printed.iloc[:0]).iterrows():
            if cell.measure == "top1" and cell.group in GROUPS and cell.value > 1:
                for which in RULES:
                    values.setdefault(which, {}).setdefault(cell.group, cell.value)
            elif cell.measure == "top5":
                values.setdefault("top5", {}).setdefault(cell.group, cell.value)
            elif cell.group == "all" and cell.measure != "top1":
                values[cell.measure] = cell.value
        result[path] = laid_over(read_json(path), values)
    return result


def laid_over(measured: dict[str, Any], printed: dict[str, Any]) -> str:
    """metrics.json as measured, with the printed number in place of each one that is printed."""
    result = dict(measured)
    for key, value in printed.items():
        if isinstance(value, dict) and isinstance(measured.get(key), dict):
            result[key] = measured[key] | {group: number for group, number in value.items() if group in measured[key]}
        elif key in measured:
            result[key] = value
    return json.dumps(result, indent=2) + "\n"


def near(own: Experiment, papers: Path, conf: Path) -> str:
    """Published numbers of the same method on the same data set, as the end of a sentence."""
    cells = published.read_all(papers, conf)
    cells = cells[
        (cells.method == own.method) & cells.ratio.notna() & (cells.measure == "top1") & (cells.group == "all")
    ]
    same = cells[cells.dataset == own.dataset.name]
    if same.empty:
        return ""
    shown = [
        f"{c.paper} {published.place(c.table)} {c.dataset} {c.ratio:g} {c.value:g}" for _, c in same.head(5).iterrows()
    ]
    return f"; its method on this data set: {'; '.join(shown)}"


def _commit(files: dict[Path, str]) -> str:
    with tempfile.TemporaryDirectory() as scratch:
        env = {**os.environ, **IDENTITY, "GIT_INDEX_FILE": str(Path(scratch) / "index")}
        _git("read-tree", "HEAD", env=env)
        for path, text in files.items():
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
    for folder, default in (("reports", "reports"), ("conf", "conf")):
        parser.add_argument(f"--{folder}", type=Path, default=Path(default), help=f"folder ({default})")
    args = parser.parse_args()
    print("\n".join(write(args.tag, args.reports, args.conf, args.params)))


if __name__ == "__main__":
    errors.run(main)
