"""The ways of using the pipeline, through DVC itself, in a temporary clone with a short recipe."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import subprocess
import sys
import time
from functools import cache
from pathlib import Path

import pytest
import warm
import yaml
from conftest import ROOT, composed, copy_project

from stages.longtail.configuration import parameters

pytestmark = pytest.mark.slow

COLD = {
    **os.environ,
    "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    "GIT_AUTHOR_NAME": "test",
    "GIT_AUTHOR_EMAIL": "test@example.org",
    "GIT_COMMITTER_NAME": "test",
    "GIT_COMMITTER_EMAIL": "test@example.org",
}
# Stages start within milliseconds; with COLD they take seconds, as a user's do, and can be stopped on the way.
ENV = {**COLD, "PATH": f"{warm.folder()}{os.pathsep}{COLD['PATH']}"}

# Each protocol that all methods must compose with, and a data set for it.
EVERYWHERE = {"small": "digits", "switching": "cifar10", "procrustean": "cifar100", "end_to_end": "cifar10"}


def call(folder: Path, *command: str, check: bool = True, timeout: int = 240) -> str:
    done = subprocess.run(command, cwd=folder, env=ENV, capture_output=True, text=True, check=False, timeout=timeout)
    output = done.stdout + done.stderr
    assert not check or done.returncode == 0, output
    return output


def shown(folder: Path, *command: str) -> dict:
    """The JSON that a command prints."""
    return json.loads(subprocess.check_output(command, cwd=folder, env=ENV, text=True, timeout=240))


def ran(output: str) -> set[str]:
    """Stages that really ran."""
    return {line.split("'")[1] for line in output.splitlines() if line.startswith("Running stage")}


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clone of the working tree, committed, with a recipe of 4 epochs, in which `dvc repro` has run once."""
    folder = tmp_path_factory.mktemp("clone")
    warm.start()
    copy_project(folder)
    protocol = folder / "conf/protocol/small.yaml"
    text = protocol.read_text().replace("epochs: 30", "epochs: 4").replace("milestones: [20]", "milestones: [2]")
    protocol.write_text(text.replace("width: 16", "width: 4"))
    config = folder / "conf/config.yaml"
    config.write_text(config.read_text().replace("threads: null", "threads: 1"))
    (folder / "params.yaml").write_text(yaml.safe_dump(composed(conf=folder / "conf")))
    call(folder, "git", "add", "-A")
    call(folder, "git", "commit", "-qm", "short")
    output = call(folder, "dvc", "repro")
    assert {"represent", "classify", "evaluate", "tables"} <= ran(output)
    call(folder, "git", "commit", "-qam", "first run")
    return folder


@pytest.fixture(autouse=True)
def _clean(request: pytest.FixtureRequest) -> None:
    if "clone" in request.fixturenames:
        call(request.getfixturevalue("clone"), "git", "checkout", "-q", ".")


def metrics(folder: Path) -> dict:
    return json.loads((folder / "reports/metrics.json").read_text())


def test_committed_params_equal_the_composition() -> None:
    assert yaml.safe_load((ROOT / "params.yaml").read_text()) == composed()


@cache
def printed() -> set[tuple[str, str]]:
    """The methods that a paper's tables have, each with the protocol of its row."""
    rows = [row for path in (ROOT / "reports/papers").glob("*/published.csv") for row in csv.DictReader(path.open())]
    return {(row["method"], row["protocol"]) for row in rows}


def accepted(method: str, protocol: str, dataset: str) -> None:
    config = composed(f"method={method}", f"protocol={protocol}", f"dataset={dataset}")
    assert [config["method"], config["protocol"]["name"], config["dataset"]["name"]] == [method, protocol, dataset]
    parameters.Params(config, Path("params.yaml"))  # all sections are validated


@pytest.mark.parametrize("method", sorted(path.stem for path in (ROOT / "conf/method").glob("*.yaml")))
def test_every_method_preset_composes_under_the_protocols_for_cifar_and_those_of_its_tables(method: str) -> None:
    for protocol in {*EVERYWHERE} | {name for other, name in printed() if name and other == method}:
        accepted(method, protocol, EVERYWHERE.get(protocol, "folder"))


@pytest.mark.parametrize("group", ["protocol", "dataset"])
def test_every_protocol_and_data_set_composes(group: str) -> None:
    for path in (ROOT / "conf" / group).glob("*.yaml"):
        names = {"method": "joint", "protocol": "small", "dataset": "digits", group: path.stem}
        accepted(**names)


def test_joint_and_switching_share_101_epochs_under_the_switching_protocol() -> None:
    joint, switching = (composed(f"method={name}", "protocol=switching") for name in ("joint", "switching"))
    assert joint["representation"] == switching["representation"]
    assert joint["protocol"] == switching["protocol"]
    assert joint["representation"]["branch"] == {"at": "last_milestone", "plus": 1}
    assert joint["classifier"] != switching["classifier"]


def test_second_repro_does_nothing(clone: Path) -> None:
    assert ran(call(clone, "dvc", "repro")) == set()


def test_an_experiment_starts_from_conf_and_repro_from_what_was_edited(clone: Path) -> None:
    """As the README and docs/faq.md say: what was changed by hand lasts until the next `dvc exp run`."""
    path = clone / "params.yaml"
    committed = yaml.safe_load(path.read_text())
    path.write_text(yaml.safe_dump(committed | {"seeds": [1]}))
    assert {"represent", "classify", "evaluate"} <= ran(call(clone, "dvc", "repro", "--dry"))
    assert ran(call(clone, "dvc", "exp", "run", "-S", "method=joint")) == set()
    assert yaml.safe_load(path.read_text()) == committed


@pytest.fixture(scope="module")
def compared(clone: Path) -> Path:
    """The clone with the revision `published`."""
    call(clone, sys.executable, "-m", "stages.longtail.papers.published_revision")
    return clone


# The papers' output grows with what is recorded: one line per run, two per run with a printed number, one per stage.
RECORDED = len(list(ROOT.glob("reports/papers/*/metrics/*/metrics.json")))
STAGES = sum(len(yaml.safe_load(path.read_text())["stages"]) for path in ROOT.glob("reports/papers/**/dvc.lock"))


@pytest.mark.parametrize(
    ("command", "lines"),
    [
        (("status",), 1),
        (("repro",), 7),
        (("exp", "run"), 10),
        (("metrics", "show"), 2),
        (("metrics", "diff", "published"), 0),
        (("exp", "show", "--only-changed"), 10),
        (("checkout",), 0),
        (("--cd", "reports/papers", "status", "--quiet"), 0),
        (("--cd", "reports/papers", "metrics", "show"), 1 + RECORDED),
        (("--cd", "reports/papers", "metrics", "diff", "published"), 1 + 2 * RECORDED),
        (("--cd", "reports/papers", "repro", "-P", "--allow-missing", "--dry"), STAGES + 3),
    ],
)
def test_everyday_commands_are_about_what_was_asked(compared: Path, command: tuple[str, ...], lines: int) -> None:
    """No flood from the papers: at most so many lines (of the papers' runs that are recorded), and no warning."""
    done = subprocess.run(("dvc", *command), cwd=compared, env=ENV, capture_output=True, text=True, timeout=240)
    quiet = "--quiet" in command  # of the papers' stages the data are not here
    assert done.returncode == (1 if quiet else 0) and not done.stderr, done.stderr
    assert len(done.stdout.splitlines()) <= lines, done.stdout
    assert "reports/papers" in command or all(len(line) <= 160 for line in done.stdout.splitlines()), done.stdout
    assert not ran(done.stdout)


def test_reports_are_in_git_and_metrics_and_plots_are_declared(clone: Path) -> None:
    assert set(call(clone, "git", "ls-files", "reports").split()) >= {
        f"reports/{name}"
        for name in (
            "metrics.json",
            "per_class.csv",
            "confusion.csv",
            "history.csv",
            "shots.csv",
            "table.md",
            "curves.svg",
        )
    }
    found = shown(clone, "dvc", "metrics", "show", "--json")
    assert set(found[""]["data"]["reports/metrics.json"]["data"]["acc"]) == {"all", "many", "medium", "few"}
    plots = shown(clone, "dvc", "plots", "show", "--json")
    drawn = {name for name, variants in plots["data"].items() if variants}
    assert drawn == {
        "test accuracy by epoch",
        "training loss by epoch",
        "learning rate by epoch",
        "accuracy by class rank",
        "accuracy by shot",
        "confusion",
    }
    assert not plots.get("errors")


def test_history_ends_with_the_accuracy_that_metrics_report(clone: Path) -> None:
    last = list(csv.DictReader((clone / "reports/history.csv").open()))[-1]
    assert float(last["test_all"]) == pytest.approx(metrics(clone)["acc"]["all"], abs=1e-3)


def test_from_crt_to_tau_norm_skips_represent_and_mfw_and_back_comes_from_the_run_cache(clone: Path) -> None:
    assert ran(call(clone, "dvc", "exp", "run", "-S", "method=crt")) == {"classify", "evaluate", "tables"}
    crt = metrics(clone)
    assert ran(call(clone, "dvc", "exp", "run", "-S", "method=tau_norm")) == {"classify", "evaluate", "tables"}
    difference = shown(clone, "dvc", "metrics", "diff", "--json")
    assert "acc.all" in difference["reports/metrics.json"]
    output = call(clone, "dvc", "exp", "run", "-S", "method=mfw")
    assert ran(output) == {"represent", "classify", "evaluate", "tables"}
    output = call(clone, "dvc", "exp", "run", "-S", "method=crt")
    assert ran(output).isdisjoint({"represent", "classify"}), output
    assert "is cached" in output
    assert metrics(clone) == crt
    assert "crt on digits" in (clone / "reports/table.md").read_text()


def test_experiments_are_compared_by_name(clone: Path) -> None:
    call(clone, "dvc", "exp", "run", "-n", "rescaled", "-S", "method=tau_norm")
    after = metrics(clone)["acc"]["all"]
    call(clone, "git", "checkout", "-q", ".")
    listed = call(clone, "make", "-o", ".venv/ready", "experiments")
    assert "tau_norm" in listed and "…" not in listed, "80 columns, and nothing is cut off"
    output = call(clone, "python", "-m", "stages.compare", "HEAD", "rescaled")
    all_classes = next(line for line in output.splitlines() if line.startswith("| all "))
    cells = [cell.strip() for cell in all_classes.split("|")]
    assert [float(cell) for cell in cells[3:5]] == pytest.approx([metrics(clone)["acc"]["all"], after], abs=0.051)
    assert (clone / "dvc_plots/compare.svg").is_file()


def test_wrong_method_name_lists_the_right_ones(clone: Path) -> None:
    output = call(clone, "dvc", "exp", "run", "-S", "method=mwf", check=False)
    for name in ("joint", "crt", "lws", "tau_norm", "ncm", "switching", "mfw"):
        assert f"\t{name}\n" in output


def experiments(folder: Path) -> set[Path]:
    """Git's references to them."""
    return set((folder / ".git/refs/exps").glob("??/*/*"))


def test_queue_of_three_methods_gives_three_rows(clone: Path) -> None:
    call(clone, "dvc", "exp", "run", "--queue", "-S", "method=joint,crt,mfw")
    before = experiments(clone)
    # What is read from it ends with the worker, long after the last experiment.
    subprocess.run(("dvc", "queue", "start"), cwd=clone, env=ENV, check=True, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 200
    while len(experiments(clone) - before) < 3 and time.monotonic() < deadline:
        time.sleep(0.2)  # without DVC, which would take as long as the experiments
    while re.search(r"^\w{7} .*(Queued|Running)", status := call(clone, "dvc", "queue", "status"), re.MULTILINE):
        assert time.monotonic() < deadline, status
        time.sleep(1)
    assert len(re.findall(r"^\w{7} .*Success", status, re.MULTILINE)) == 3, status
    rows = csv.DictReader(io.StringIO(call(clone, "dvc", "exp", "show", "--csv")))
    accuracies = {row["method"]: row["acc.all"] for row in rows if row["State"] != "" or row["rev"] != "workspace"}
    assert {"joint", "crt", "mfw"} <= accuracies.keys() and "" not in accuracies.values()


def test_one_more_seed_trains_that_seed_alone(clone: Path) -> None:
    before = (clone / "reports/history.csv").read_text()
    output = call(clone, "dvc", "exp", "run", "-S", "seeds=[0,1]")
    assert "represent, seed 1: epoch 4 of 4" in output
    assert "represent, seed 0: epoch" not in output
    assert (clone / "reports/history.csv").read_text().startswith(before)
    assert set(metrics(clone)) == {
        *("acc", "best", "top5", "seeds", "std", "best_std", "top5_std"),
        *("bias2", "variance", "total_error"),
    }
