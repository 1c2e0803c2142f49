"""A toy paper on digits (three methods, two ratios, made-up numbers) through everything that a paper goes through."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
import pytest
import yaml
from conftest import ROOT
from test_pipeline import ENV, call, ran

from stages.longtail.papers import methods

COLUMNS = (ROOT / "data/published/switching.csv").read_text().splitlines()[0]
ROWS = ("Joint,toy,joint", "Re-trained,toy,crt", "Switched,toy,switching")
PUBLISHED = {"joint": (60.0, 70.0), "crt": (99.9, 99.8), "switching": (50.0, 50.5)}
PAPERS = ("balance", "decoupling", "end_to_end", "procrustean", "switching")
FIRST = "digits-exp-20-joint-precisionfp32"


def line(label: str, ratio: int, value: float, overrides: str = "runtime.precision=fp32 seeds=[0]") -> str:
    return f'1,{label},"{overrides}",digits,resnet8,exp,{ratio},3,,all,top1,{value},own,'


def toy(value: float = 50.0, seeds: str = "[0]") -> str:
    overrides = f"runtime.precision=fp32 seeds={seeds}"
    lines = [COLUMNS, "1,Theirs,,,,digits,resnet8,exp,20,,,all,top1,42.0,copied,"]
    for label in ROWS:
        for ratio, number in zip((20, 10), PUBLISHED[label.split(",")[2]], strict=True):
            lines.append(line(label, ratio, number, overrides))
    return "\n".join(lines) + "\n"


def stage_runs(process: int) -> bool:
    """Is one of the process's children a stage?"""
    try:
        return any("stages." in " ".join(child.cmdline()) for child in psutil.Process(process).children(recursive=True))
    except psutil.Error:  # one has just ended
        return False


@pytest.fixture(scope="module")
def paper(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clone whose only paper is the toy, its grid written, nothing run."""
    folder = tmp_path_factory.mktemp("paper")
    for name in call(ROOT, "git", "ls-files", "--cached", "--others", "--exclude-standard").splitlines():
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    (folder / "reports/toy").mkdir()
    grid = (folder / "reports/switching/dvc.yaml").read_text()
    (folder / "reports/toy/dvc.yaml").write_text(grid.replace("switching/", "toy/"))
    (folder / "reports/toy/about.md").write_text("# toy\n\nMade up.\n")
    for name in PAPERS:
        shutil.rmtree(folder / "reports" / name)
        (folder / f"data/published/{name}.csv").unlink()
    (folder / "data/published/toy.csv").write_text(toy())
    small = (folder / "conf/protocol/small.yaml").read_text()
    for old, new in (("name: small", "name: toy"), ("epochs: 30", "epochs: 3"), ("[20]", "[1]"), ("16", "4")):
        assert old in small
        small = small.replace(old, new)
    (folder / "conf/protocol/toy.yaml").write_text(small)
    (folder / "reports/seeds.yaml").unlink()
    call(folder, "git", "init", "-q", "-b", "main")
    call(folder, "python", "-m", "stages.longtail.papers.grid")
    call(folder, "git", "add", "-A")
    call(folder, "git", "commit", "-qm", "toy")
    return folder


def tables(folder: Path, *options: str, check: bool = True) -> str:
    return call(folder, "python", "-m", "stages.tables", *options, check=check)


def pages(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (folder / "reports/toy").glob("*") if path.is_file()} | {
        path.name: path.read_bytes() for path in (folder / "reports").glob("*.*")
    }


def points(folder: Path, number: int) -> tuple[list[float], list[float]]:
    """x and y in the picture of the scoreboard's figure: 1 the filled points of the first paper, 2 its rings."""
    picture = (folder / "reports/ours_against_published.svg").read_text()
    group = picture.split(f'<g id="PathCollection_{number}">')[1].split("</g>\n   </g>")[0]
    found = re.findall(r'<use [^>]*x="([-\d.]+)" y="([-\d.]+)"', group)
    return [float(x) for x, _ in found], [float(y) for _, y in found]


def test_a_paper_from_its_grid_to_its_tables(paper: Path) -> None:
    # The grid: joint and switching share their epochs up to the switch, crt trains joint to the end.
    grid = yaml.safe_load((paper / "reports/toy/params.yaml").read_text())
    assert len(grid["runs"]) == 4 and len(grid["alone"]) == 2 and len(grid["representations"]) == 2
    missing = tables(paper, "--paper", "toy", "--missing")
    assert missing.startswith("toy: 6 runs missing") and missing.count("dvc repro reports/toy/dvc.yaml:") == 6
    # 429 images (ratio 20: see conf/dataset/digits) or more, three epochs, one seed; what is shared counts once.
    tables(paper, "--papers")
    empty = (paper / "reports/toy/table1.md").read_text()
    assert (
        "| Joint" in empty
        and "- (60.0)" in empty
        and "(42.0)" in empty
        and "`toy` (3 epochs); none of its 6 cells" in empty
    )

    # One cell by its printed command, then all: what is done is not done again.
    output = call(paper, "dvc", "repro", f"reports/toy/dvc.yaml:run@{FIRST}")
    assert {"represent", "run"} <= {name.split(":")[-1].split("@")[0] for name in ran(output)}
    assert tables(paper, "--paper", "toy", "--missing").startswith("toy: 5 runs missing")
    # Stopped (Ctrl-C goes to the whole group) with the next cell done, the campaign goes on after it.
    command = ("dvc", "repro", "reports/toy/dvc.yaml")
    folder = paper / "reports/toy/metrics"
    campaign = subprocess.Popen(command, cwd=paper, env=ENV, stdout=subprocess.DEVNULL, start_new_session=True)
    while len(finished := sorted(path.parent.name for path in folder.glob("*/metrics.json"))) < 2:
        assert campaign.poll() is None
        time.sleep(0.05)
    locked = paper / "reports/toy/dvc.lock"
    while not all(f"@{name}:" in locked.read_text() for name in finished):
        assert campaign.poll() is None
        time.sleep(0.05)
    while not stage_runs(campaign.pid):
        assert campaign.poll() is None
        time.sleep(0.01)  # DVC itself writes its own files right before and after a stage
    os.killpg(campaign.pid, signal.SIGINT)
    campaign.wait(timeout=60)
    output = call(paper, *command)
    assert not {name.split("@")[1] for name in ran(output) if not name.startswith("reports/toy/dvc.yaml:represent")} & {
        *finished
    }
    assert tables(paper, "--paper", "toy", "--missing").startswith("toy: 0 runs missing")
    assert not ran(call(paper, "dvc", "repro", "reports/toy/dvc.yaml"))

    # The tables: ours beside published, by both epochs, with a mark where they differ; the same bytes again.
    tables(paper, "--papers")
    cells = pd.read_csv(paper / "reports/toy/table1.csv").set_index(["row", "ratio"])
    ours = json.loads((paper / f"reports/toy/metrics/{FIRST}/metrics.json").read_text())
    cell = cells.loc[("Joint", 20)]
    assert (cell["last"], cell.best, cell.published) == (ours["acc"]["all"], ours["best"]["all"], 60.0)
    page = (paper / "reports/toy/table1.md").read_text()
    assert f"{ours['acc']['all']:.1f} (60.0, {ours['acc']['all'] - 60:+.1f}) !" in page
    assert "best test epoch" in page and "6 of 6 cells were run" in page
    assert "ours" in (paper / "reports/toy/table1.tex").read_text()
    # The figure: a filled point and a ring for each cell that was run.
    run = cells[cells["last"].notna()]
    for number, which in ((1, "last"), (2, "best")):
        x, y = points(paper, number)
        assert len(x) == len(run) == 6
        assert np.corrcoef(x, run.published)[0, 1] > 1 - 1e-6, "in the order of the table, at their published values"
        assert np.corrcoef(y, run[which])[0, 1] < -1 + 1e-6, "the picture's y points down"
    assert re.search(r"toy.*\| 1 +\| 7 +\| 6 +\| 6 ", (paper / "reports/README.md").read_text())
    before = pages(paper)
    tables(paper, "--papers")
    assert pages(paper) == before
    call(paper, "git", "add", "-A")
    call(paper, "git", "commit", "-qm", "run")


def test_a_fresh_clone_without_data_or_cache_renders_the_same_bytes(paper: Path, tmp_path: Path) -> None:
    call(tmp_path, "git", "clone", "-q", str(paper), "again")
    tables(tmp_path / "again", "--papers")
    assert call(tmp_path / "again", "git", "status", "--short") == ""
    assert not ran(call(tmp_path / "again", "dvc", "repro", "--allow-missing", "--dry", "reports/toy/dvc.yaml"))


def test_metrics_diff_published_shows_ours_against_theirs(paper: Path) -> None:
    before = call(paper, "git", "status", "--short"), call(paper, "git", "rev-parse", "HEAD")
    said = call(paper, "python", "-m", "stages.longtail.papers.tag")
    assert "no published number for the current experiment; near ones: toy table 1 digits 20 60" in said
    first = call(paper, "git", "rev-parse", "published")
    call(paper, "python", "-m", "stages.longtail.papers.tag")
    assert call(paper, "git", "rev-parse", "published") == first
    assert (call(paper, "git", "status", "--short"), call(paper, "git", "rev-parse", "HEAD")) == before
    path = f"reports/toy/metrics/{FIRST}/metrics.json"
    shown = json.loads(call(paper, "dvc", "metrics", "diff", "published", "--json", "--targets", path))
    ours = json.loads((paper / path).read_text())
    assert shown[path]["acc.all"] == {
        "old": 60.0,
        "new": ours["acc"]["all"],
        "diff": pytest.approx(ours["acc"]["all"] - 60.0),
    }


def test_a_cell_that_leaves_its_tolerance_fails_the_check(paper: Path) -> None:
    published = paper / "data/published/toy.csv"
    path = paper / f"reports/toy/metrics/{FIRST}/metrics.json"
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


def test_a_run_that_left_the_grid_leaves_the_tables_though_its_metrics_stay(paper: Path) -> None:
    published = paper / "data/published/toy.csv"
    text = published.read_text()
    try:
        published.write_text("\n".join(row for row in text.splitlines() if "Switched" not in row) + "\n")
        call(paper, "python", "-m", "stages.longtail.papers.grid")
        tables(paper, "--papers")
        page = (paper / "reports/toy/table1.md").read_text()
        assert "Switched" not in page and "4 of 4 cells" in page
        assert (paper / "reports/toy/metrics/digits-exp-20-switching-precisionfp32/metrics.json").is_file()
    finally:
        call(paper, "git", "checkout", "-q", ".")


def test_a_new_seed_trains_that_seed_alone(paper: Path) -> None:
    published = paper / "data/published/toy.csv"
    seeds, grid = paper / "reports/seeds.yaml", paper / "reports/toy/params.yaml"
    before = grid.read_text()
    try:
        published.write_text(toy(seeds="[0,1]"))
        # Not all at once: no more seeds than are paid for.
        seeds.write_text("toy: {digits-exp-20: [0], digits-exp-10: [0]}")
        call(paper, "python", "-m", "stages.longtail.papers.grid")
        assert grid.read_text() == before
        for wrong, words in (("toy: {digits-exp-21: [0]}", "did you mean 'digits-exp-"), ("yot: {}", "names yot")):
            seeds.write_text(wrong)
            assert words in call(paper, "python", "-m", "stages.longtail.papers.grid", check=False)
        seeds.write_text("toy: {digits-exp-10: [0]}")
        call(paper, "python", "-m", "stages.longtail.papers.grid")
        output = call(paper, "dvc", "repro", f"reports/toy/dvc.yaml:run@{FIRST}")
        assert "represent, seed 1: epoch 1" in output and "represent, seed 0: epoch 1" not in output
        metrics = json.loads((paper / f"reports/toy/metrics/{FIRST}/metrics.json").read_text())
        assert metrics["seeds"] == 2 and metrics["bias2"] + metrics["variance"] == metrics["total_error"]
    finally:
        call(paper, "git", "checkout", "-q", ".")


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("toy,joint", "toy,jiont", ("toy.csv:3", "jiont", "joint")),
        ("top1,60.0", "top1,sixty", ("toy.csv:3", "sixty")),
        ("Joint,toy,joint", "Switched,toy,switching", ("toy.csv:7", "stands in the file already")),
        ("toy,joint", "tyo,joint", ("toy.csv:3", "tyo", "toy")),
    ],
)
def test_a_wrong_cell_is_refused_with_its_file_and_line(
    paper: Path, old: str, new: str, words: tuple[str, ...]
) -> None:
    published = paper / "data/published/toy.csv"
    text = published.read_text()
    try:
        published.write_text(text.replace(old, new))
        for command in (("stages.longtail.papers.grid",), ("stages.tables", "--papers")):
            output = call(paper, "python", "-m", *command, check=False)
            assert output.startswith("error: ") and all(word in output for word in words), output
    finally:
        published.write_text(text)


def test_tables_in_pages_have_equal_lines_and_stand_alone() -> None:
    """Else they are shown as text: a bar in a cell must be escaped, and nothing may stand before the first line."""
    pages = [ROOT / "README.md", *ROOT.glob("reports/**/*.md"), *ROOT.glob("data/published/*.md")]
    assert len(pages) > 40
    for page in pages:
        columns, before = 0, ""
        for number, text in enumerate(page.read_text().splitlines(), start=1):
            where = f"{page}:{number}"
            assert text.startswith("|") or text.count(" | ") < 2, f"{where} begins a table with other words"
            bars = len(re.findall(r"(?<!\\)\|", text)) if text.startswith("|") else 0
            assert bars == columns or not (bars and columns), f"{where} has {bars} bars, the line above {columns}"
            assert columns or not bars or not before, f"{where} begins a table right after text"
            columns, before = bars, text


def test_every_ledger_entry_stands_in_a_room() -> None:
    ledger = [line for line in (ROOT / "reports/DISCREPANCIES.md").read_text().splitlines() if line.startswith("| ")]
    rooms = {line for name in PAPERS for line in (ROOT / f"reports/{name}/README.md").read_text().splitlines()}
    assert len(ledger) > 60 and not set(ledger) - rooms


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (("handback", "send", "trip"), ("--paper says ''", "toy")),
        (("handback", "send", "trip", "--paper", "tyo"), ("'tyo'", "did you mean 'toy'?")),
        (("handback", "send", "trip", "--paper", "toy", FIRST[:-1]), (FIRST[:-1], f"did you mean '{FIRST}'?")),
        (("methods", "--rows", "tyo"), ("'tyo'", "did you mean 'toy'?")),
    ],
)
def test_an_unknown_paper_or_run_is_refused(paper: Path, command: tuple[str, ...], words: tuple[str, ...]) -> None:
    output = call(paper, "python", "-m", f"stages.longtail.papers.{command[0]}", *command[1:], check=False)
    assert output.startswith("error: ") and output.count("\n") <= 1 and all(word in output for word in words), output


def test_the_commands_of_rows_compose_the_runs_of_the_grid(paper: Path) -> None:
    listed = methods.rows(paper / "data/published", paper / "conf", "toy")
    grid = yaml.safe_load((paper / "reports/toy/params.yaml").read_text())
    assert len(listed) == 6
    wanted = sorted(sorted(run["compose"].split()) for run in (grid["runs"] | grid["alone"]).values())
    assert sorted(sorted(shlex.split(command)[4::2]) for command in listed.run) == wanted
    assert all(command.startswith("dvc exp run -S ") for command in listed.run)


def test_runs_of_another_machine_are_recorded_as_done(paper: Path, tmp_path: Path) -> None:
    """send, run.sh without DVC and Hydra, take: the small results and the checksums of the large files."""
    call(tmp_path, "git", "clone", "-q", str(paper), "here")
    here, there = tmp_path / "here", tmp_path / "there"
    for name in ("reports/toy/dvc.lock", "reports/dvc.lock"):
        (here / name).unlink()
    shutil.rmtree(here / "reports/toy/metrics")
    run = "digits-exp-20-crt-precisionfp32"
    call(here, "python", "-m", "stages.longtail.papers.handback", "send", "trip", "--paper", "toy", FIRST, run)
    there.mkdir()
    for name in ("stages", "trip"):
        shutil.copytree(here / name, there / name)
    script = (there / "trip/run.sh").read_text()
    assert "dvc" not in script and script.count("stages.represent") == 1, "the representation is shared"
    broken = there / f"trip/params/toy-runs-{FIRST}.yaml"
    whole = broken.read_text()
    broken.write_text("")
    assert f"failed: {FIRST}\n" in call(there, "bash", "trip/run.sh", check=False), "the other one is done all the same"
    assert [path.parent.name for path in there.glob("trip/results/*/metrics.json")] == [run]
    broken.write_text(whole)
    stopped = subprocess.Popen(["bash", "trip/run.sh"], cwd=there, env=ENV, start_new_session=True)
    while not stage_runs(stopped.pid):
        assert stopped.poll() is None
        time.sleep(0.01)
    os.killpg(stopped.pid, signal.SIGINT)
    assert stopped.wait(timeout=60) == 130, "told to stop, it went on with the next run"
    call(there, "bash", "trip/run.sh")
    told = json.loads((there / f"trip/results/{run}/manifest.json").read_text())
    assert told["revision"] == call(here, "git", "rev-parse", "--short=12", "HEAD").strip()
    shutil.copytree(there / "trip", here / "trip", dirs_exist_ok=True)
    taken = call(here, "python", "-m", "stages.longtail.papers.handback", "take", "trip")
    assert f"reports/toy/dvc.yaml:run@{run}" in taken
    stages = [f"reports/toy/dvc.yaml:{name}" for name in (f"represent@{FIRST}", f"run@{FIRST}", f"run@{run}")]
    assert not ran(call(here, "dvc", "repro", "--single-item", "--allow-missing", "--dry", *stages))
    assert tables(here, "--paper", "toy", "--missing").startswith("toy: 4 runs missing")
