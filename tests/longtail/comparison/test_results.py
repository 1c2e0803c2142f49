"""What a name stands for: a folder, a run of a paper, or nothing, which is one line."""

import itertools
import subprocess
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT

from stages.longtail.comparison import compare, results
from stages.longtail.console.errors import UserError
from stages.longtail.evaluation import outputs
from stages.longtail.evaluation.outputs import Outputs

CLASSES = "rank,class,name,count,shot,accuracy\n1,1,dog,200,many,50\n2,0,cat,10,few,100\n"


def lay(folder: Path, predicted: bool = True) -> None:
    folder.mkdir(parents=True)
    (folder / "metrics.json").write_text("{}")
    (folder / "per_class.csv").write_text(CLASSES)
    if predicted:
        logits = np.eye(2, dtype=np.float16)[None, [0, 1, 0]]
        outputs.write_predictions(folder / "predictions.npz", Outputs(logits, np.array([0, 1, 1]), (0,)))


@pytest.fixture
def reports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current experiment, one run of two papers, and one from before predictions were kept."""
    monkeypatch.chdir(tmp_path)
    jobs = "reports/papers/one/data/jobs/results/run"  # what `launch --on` leaves beside the record
    for name in ("reports", "reports/papers/one/metrics/run", "reports/papers/two/metrics/run", jobs):
        lay(Path(name))
    lay(Path("reports/papers/two/metrics/old"), predicted=False)
    return Path("reports")


@pytest.mark.parametrize("name", ["workspace", "reports/papers/one/metrics/run", "one/run"])
def test_folders_and_runs_are_found_and_classes_are_in_the_labels_order(reports: Path, name: str) -> None:
    found = results.find(name, reports)
    assert found.name == name and found.predicted.tolist() == [[0, 1, 0]] and found.labels.tolist() == [0, 1, 1]
    assert found.classes.values.tolist() == [[0, "cat", 10, "few"], [1, "dog", 200, "many"]]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("run", "one/metrics/run and of reports/papers/two/metrics/run: name its paper, one/run or two/run"),
        ("old", "old has no predictions.npz, without which 'old' cannot be compared"),
        ("reports/papers", "reports/papers has no predictions.npz"),
    ],
)
def test_a_name_that_does_not_tell_or_a_result_without_predictions_is_one_line(
    reports: Path, name: str, words: str
) -> None:
    with pytest.raises(UserError, match=words):
        results.find(name, reports)


def test_what_is_nothing_says_all_that_it_could_have_been(reports: Path) -> None:
    with pytest.raises(UserError, match="'mwf' is not a folder, a run of a paper, an experiment or a git revision"):
        results.find("mwf", reports)


def test_the_example_of_the_docs_is_two_recorded_runs_which_git_alone_can_compare() -> None:
    text = (ROOT / "docs/metrics.md").read_text().split("    $ python -m stages.compare ", 1)[1]
    command, *rest = text.splitlines()
    shown = [line.strip() for line in itertools.takewhile(lambda line: not line or line.startswith("    "), rest)]
    a, b = command.split()
    found = [results.find(name, ROOT / "reports") for name in (a, b)]
    printed = compare.markdown(compare.compare(*found)).splitlines()
    shown = [line for line in shown if line not in ("", "...")]
    assert len(shown) > 8 and [line for line in printed if line in shown] == shown
    files = [f"reports/papers/{name.replace('/', '/metrics/')}/{file}" for name in (a, b) for file in results.FILES]
    subprocess.run(["git", "ls-files", "--error-unmatch", *files], cwd=ROOT, check=True, capture_output=True)
