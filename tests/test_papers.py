"""A toy paper on digits (three methods, two ratios, made-up numbers) through everything that a paper goes through."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from conftest import ROOT
from inprocess import refused
from test_pipeline import COLD, call, ran
from toy_paper import FIRST, PAPERS, dvc, entries, launch, make, stage_runs, tables, toy

from stages.longtail.evaluation import rounding
from stages.longtail.papers import methods


@pytest.fixture(scope="module")
def paper(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("paper"))


def pages(folder: Path) -> dict[str, bytes]:
    papers = folder / "reports/papers"
    return {str(path): path.read_bytes() for path in (*papers.glob("toy/*"), *papers.glob("*.*")) if path.is_file()}


def points(folder: Path, kind: str) -> list[float]:
    """x in the picture of the scoreboard's figure, run by run. kind: last, best or printed."""
    picture = (folder / "reports/papers/scoreboard_light.svg").read_text()
    found = re.findall(rf'<g id="{kind}-\d+">.*?<use [^>]*x="([-\d.]+)"', picture, re.S)
    return [float(x) for x in found]


@pytest.mark.timeout(900)  # some thirty processes that import torch
def test_a_paper_from_its_plan_to_its_tables(paper: Path) -> None:
    # The plan: joint and crt share a representation, switching branches earlier.
    toy = paper / "reports/papers/toy"
    plan = yaml.safe_load((toy / "plan.yaml").read_text())
    assert len(plan) == 6 and len({entry["of"] for entry in plan.values()}) == 4
    assert entries(paper) == {} and "no data or pipelines" in dvc(paper, "status")
    missing = tables(paper, "--missing")
    assert missing.startswith("toy: 6 runs missing") and missing.count("python -m stages.launch toy ") == 6
    tables(paper, "--papers")
    empty = (toy / "table1.md").read_text()
    assert "No number of this table was run yet. It prints 7 numbers" in empty and "for 6 of them" in empty

    # One cell by its printed command, then all: what is done is not done again.
    output = launch(paper, "toy", FIRST)
    assert ran(output) == {
        "download@digits",
        "split@digits-exp-20",
        f"toy/dvc.yaml:represent@{FIRST}",
        f"toy/dvc.yaml:run@{FIRST}",
    }
    assert list(entries(paper)) == [FIRST] and "1 of 6 cells were run" in (toy / "table1.md").read_text()
    assert tables(paper, "--paper", "toy", "--missing").startswith("toy: 5 runs missing")
    listed = launch(paper, "toy", "--list").splitlines()
    assert (
        len(listed) == 6 and listed[0] == f"recorded       {FIRST}  seeds 0" and listed[1].startswith("not asked for")
    )
    # Stopped (Ctrl-C goes to the whole group) with the next cell done, launch goes on after it.
    command = ("python", "-m", "stages.launch", "toy", "*")
    launched = subprocess.Popen(command, cwd=paper, env=COLD, stdout=subprocess.DEVNULL, start_new_session=True)
    while len(finished := sorted(path.parent.name for path in toy.glob("metrics/*/metrics.json"))) < 2:
        assert launched.poll() is None
        time.sleep(0.05)
    while not all(f"run@{name}:" in (toy / "dvc.lock").read_text() for name in finished):
        assert launched.poll() is None
        time.sleep(0.05)
    while not stage_runs(launched.pid):
        assert launched.poll() is None
        time.sleep(0.01)  # DVC itself writes its own files right before and after a stage
    os.killpg(launched.pid, signal.SIGINT)
    launched.wait(timeout=60)
    output = call(paper, *command, timeout=600)
    assert not {name.split("@")[1] for name in ran(output) if ":run@" in name} & {*finished}
    assert tables(paper, "--paper", "toy", "--missing").startswith("toy: 0 runs missing")
    assert not ran(dvc(paper, "repro", "--all-pipelines"))

    # The tables: ours beside published, by both epochs, with a mark where they differ; the same bytes again.
    tables(paper, "--papers")
    cells = pd.read_csv(paper / "reports/papers/toy/table1.csv").set_index(["row", "ratio"])
    ours = json.loads((paper / f"reports/papers/toy/metrics/{FIRST}/metrics.json").read_text())
    cell = cells.loc[("Joint", 20)]
    assert (cell["last"], cell.best, cell.published) == (ours["acc"]["all"], ours["best"]["all"], 60.0)
    page = (paper / "reports/papers/toy/table1.md").read_text()
    last = ours["acc"]["all"]
    low, high = (rounding.text(cell[end], 1) for end in ("last_low", "last_high"))
    assert f"{rounding.text(last, 1)} [{low} to {high}] (60.0, {rounding.text(last - 60, 1, sign=True)}) !" in page
    assert page.index("| Joint") < page.index("(42.0)"), "rows that were run come first"
    assert "best test epoch" in page and "6 of 6 cells were run" in page
    assert "reproduced" in (paper / "reports/papers/toy/table1.tex").read_text()
    # The figure: a dumbbell for each run, all on one axis.
    run = cells[cells["last"].notna()]
    x = np.array([points(paper, kind) for kind in ("printed", "last", "best")])
    assert x.shape == (3, 6)
    assert np.corrcoef(x.ravel(), np.ravel([run.published, run["last"], run.best]))[0, 1] > 1 - 1e-6
    assert re.search(r"toy.*\| 6 of 6 +\| 6 of 6 ", (paper / "reports/papers/README.md").read_text())
    before = pages(paper)
    tables(paper, "--papers")
    assert pages(paper) == before
    call(paper, "git", "add", "-A")
    call(paper, "git", "commit", "-qm", "run")


def test_a_fresh_clone_without_data_or_cache_renders_the_same_bytes(paper: Path, tmp_path: Path) -> None:
    call(tmp_path, "git", "clone", "-q", str(paper), "again")
    command = ("python", "-m", "stages.tables", "--papers")
    # Cold: all stages of one `warm` have the same order of sets, on which the bytes must not depend.
    subprocess.run(command, cwd=tmp_path / "again", env=COLD, check=True)
    assert call(tmp_path / "again", "git", "status", "--short") == ""
    assert not ran(call(tmp_path / "again", "dvc", "--cd", "reports/papers", "repro", "-P", "--allow-missing", "--dry"))


def test_metrics_diff_published_shows_ours_against_theirs_and_nothing_else(paper: Path) -> None:
    before = call(paper, "git", "status", "--short"), call(paper, "git", "rev-parse", "HEAD")
    command = ("python", "-m", "stages.longtail.papers.published_revision")
    said = call(paper, *command)
    assert (
        "no published number for the current experiment; its method on this data set: toy table 1 digits 20 60" in said
    )
    first = call(paper, "git", "rev-parse", "published")
    call(paper, *command)
    assert call(paper, "git", "rev-parse", "published") == first
    call(paper, "git", "config", "tag.gpgSign", "true")  # it is a commit of this machine's: nobody's signature
    call(paper, "git", "config", "user.signingKey", "none")
    call(paper, *command)
    call(paper, "git", "config", "--unset", "tag.gpgSign")
    assert (call(paper, "git", "status", "--short"), call(paper, "git", "rev-parse", "HEAD")) == before
    lines = dvc(paper, "metrics", "diff", "published").splitlines()
    rows = {tuple(line.split()[:2]): [float(value) for value in line.split()[2:]] for line in lines[1:]}
    assert {key for _, key in rows} == {"acc.all", "best.all"} and len({path for path, _ in rows}) == 6
    ours = json.loads((paper / f"reports/papers/toy/metrics/{FIRST}/metrics.json").read_text())["acc"]["all"]
    shown = rows[f"toy/metrics/{FIRST}/metrics.json", "acc.all"]
    assert shown == pytest.approx([60.0, ours, ours - 60.0], abs=0.001)
    assert call(paper, "dvc", "metrics", "diff", "published") == "", "no paper prints the current experiment"


def test_a_cell_that_leaves_its_tolerance_fails_the_check(paper: Path) -> None:
    published = paper / "reports/papers/toy/published.csv"
    path = paper / f"reports/papers/toy/metrics/{FIRST}/metrics.json"
    ours = json.loads(path.read_text())
    text = published.read_text()
    try:
        published.write_text(text.replace("top1,60.0", f"top1,{ours['acc']['all'] + 0.5}"))
        tables(paper, "--papers")
        call(paper, "git", "commit", "-qam", "within")
        assert "still is" in tables(paper, "--check")
        ours["acc"]["all"] -= 5
        path.write_text(json.dumps(ours))
        output = tables(paper, "--check", check=False)
        assert output.startswith("error: within the tolerance at HEAD") and "Joint" in output and FIRST in output
    finally:
        call(paper, "git", "checkout", "-q", "HEAD~1", "--", ".")
        call(paper, "git", "commit", "-qm", "back")


def test_a_run_that_left_the_plan_leaves_the_tables_though_its_metrics_stay(paper: Path) -> None:
    published = paper / "reports/papers/toy/published.csv"
    text = published.read_text()
    try:
        published.write_text("\n".join(row for row in text.splitlines() if "Switched" not in row) + "\n")
        said = launch(paper, "--update")
        assert "digits-exp-20-switching-precisionfp32 was asked for, but no row needs it" in said
        tables(paper, "--papers")
        page = (paper / "reports/papers/toy/table1.md").read_text()
        assert "Switched" not in page and "4 of 4 cells" in page
        assert (paper / "reports/papers/toy/metrics/digits-exp-20-switching-precisionfp32/metrics.json").is_file()
    finally:
        call(paper, "git", "checkout", "-q", ".")


def test_a_new_seed_trains_that_seed_alone(paper: Path) -> None:
    published = paper / "reports/papers/toy/published.csv"
    requests = paper / "reports/papers/toy/params.yaml"
    before = requests.read_text()
    try:
        published.write_text(toy(seeds="[0,1]"))
        launch(paper, "--update")
        assert requests.read_text() == before, "no more seeds than were asked for"
        output = launch(paper, "toy", FIRST, "--seeds", "0,1")
        assert "represent, seed 1: epoch 1" in output and "represent, seed 0: epoch 1" not in output
        metrics = json.loads((paper / f"reports/papers/toy/metrics/{FIRST}/metrics.json").read_text())
        assert metrics["seeds"] == 2 and metrics["bias2"] + metrics["variance"] == metrics["total_error"]
    finally:
        call(paper, "git", "checkout", "-q", ".")


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("toy,joint", "toy,jiont", ("published.csv:3", "jiont", "joint")),
        ("top1,60.0", "top1,sixty", ("published.csv:3", "sixty")),
        ("Joint,toy,joint", "Switched,toy,switching", ("published.csv:7", "stands in the file already")),
        ("toy,joint", "tyo,joint", ("published.csv:3", "tyo", "toy")),
    ],
)
def test_a_wrong_cell_is_refused_with_its_file_and_line(
    paper: Path, old: str, new: str, words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(paper)
    published = Path("reports/papers/toy/published.csv")
    text = published.read_text()
    try:
        published.write_text(text.replace(old, new))
        refused("launch", *words, arguments=["--update"])
        refused("tables", *words, arguments=["--papers"])
    finally:
        published.write_text(text)


def test_tables_in_pages_have_equal_lines_and_stand_alone() -> None:
    """Else they are shown as text: a bar in a cell must be escaped, and nothing may stand before the first line."""
    pages = [ROOT / "README.md", *ROOT.glob("reports/**/*.md")]
    assert len(pages) > 40
    for page in pages:
        columns, before = 0, ""
        for number, text in enumerate(page.read_text().splitlines(), start=1):
            where = f"{page}:{number}"
            if text.startswith("    "):
                continue  # what a command prints
            assert text.startswith("|") or text.count(" | ") < 2, f"{where} begins a table with other words"
            bars = len(re.findall(r"(?<!\\)\|", text)) if text.startswith("|") else 0
            assert bars == columns or not (bars and columns), f"{where} has {bars} bars, the line above {columns}"
            assert columns or not bars or not before, f"{where} begins a table right after text"
            columns, before = bars, text


def test_every_ledger_entry_stands_on_a_page() -> None:
    papers = ROOT / "reports/papers"
    ledger = [line for line in (papers / "DISCREPANCIES.md").read_text().splitlines() if line.startswith("| ")]
    pages = {line for name in PAPERS for line in (papers / name / "README.md").read_text().splitlines()}
    assert len(ledger) > 60 and not set(ledger) - pages


@pytest.mark.parametrize("name", PAPERS)
def test_every_paper_has_the_stages_of_the_template(name: str) -> None:
    papers = ROOT / "reports/papers"
    assert (papers / name / "dvc.yaml").read_text() == (papers / "template.yaml").read_text()


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (("other_machine", "send", "trip"), ("send takes the runs of one paper", "--paper switching")),
        (("other_machine", "send", "trip", "--paper", "tyo"), ("'tyo'", "did you mean 'toy'?")),
        (("other_machine", "send", "trip", "--paper", "toy", FIRST[:-1]), (FIRST[:-1], f"did you mean '{FIRST}'?")),
        (
            ("other_machine", "take", "trip"),
            ("trip/order.json does not exist", "other_machine send"),
        ),
        (("methods", "--rows", "tyo"), ("'tyo'", "did you mean 'toy'?")),
        (("launch", "tyo", FIRST), ("'tyo'", "did you mean 'toy'?")),
        (("launch", "toy", FIRST[:-1]), (FIRST[:-1], f"did you mean '{FIRST}'?")),
        (("launch", "toy", "cifar*"), ("cifar*",)),
        (("launch", "toy"), ("PAPER RUN", "--list")),
        (("launch", "toy", FIRST, "--set", "mixing"), ("--set mixing", "section.key=value")),
        (("tables", "--paper", "tyo"), ("'tyo'", "did you mean 'toy'?")),
        (("tables", "--paper", ""), ("''", "toy")),
        (("tables", "--missing", "--check"), ("--missing", "--check", "one of them")),
        (("tables", "--papers", "--paper", "toy"), ("--papers", "leave out")),
    ],
)
def test_an_unknown_paper_or_run_is_refused(
    paper: Path, command: tuple[str, ...], words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(paper)
    refused(command[0], *words, arguments=command[1:])


def test_the_commands_of_rows_compose_the_runs_of_the_plan(paper: Path) -> None:
    listed = methods.rows(paper / "reports/papers", paper / "conf", "toy")
    plan = yaml.safe_load((paper / "reports/papers/toy/plan.yaml").read_text())
    assert len(listed) == 6
    wanted = sorted(sorted(run["compose"].split()) for run in plan.values())
    assert sorted(sorted(shlex.split(command)[4::2]) for command in listed.run) == wanted
    assert all(command.startswith("dvc exp run -S ") for command in listed.run)
