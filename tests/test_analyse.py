"""python -m stages.analyse on runs of digits: a paper's, and the current experiment."""

from __future__ import annotations

import shutil
from pathlib import Path

import pandas as pd
import pytest
import yaml
from conftest import ROOT, Workplace, composed
from golden.curves import SHORT
from inprocess import alter, files, ok, start

from stages.longtail.configuration import cells

METHODS = ("joint", "cbs", "cbs_rrs", "tau_norm", "switching", "cw_ldam", "mfw_step")
OBSERVED = "runtime.observe=[accuracy,loss,feature_gradient,head_gradient]"
WATCHED = {"joint": ("runtime.regularity=true", OBSERVED), "cbs": (OBSERVED,)}
PLANE = ("+protocol.projection=2", "+protocol.projection_relu=false", "runtime.observe=[plane]")
DRAWN = {
    "balance": ["figure2_loss", "figure3_gain"],
    "decoupling": ["figure1_accuracy", "figure2_tau", "figure2_weight_norms", "figure3_sampling"],
    "end_to_end": ["figure2_correlation", "figure3_classifier", "figure6_gradient_norm", "figure7_singular_values"],
    "procrustean": ["figure1_progress", "figure4_feature_gradient", "figure5_plane", "figure7_deviation"],
    "switching": ["figure3_test_accuracy", "figure4_learning_speed", "figure7_events", "table12_irregularity"],
}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, split_digits: Path) -> Path:
    """Five papers without runs, but that procrustean has a few of digits."""
    root = tmp_path_factory.mktemp("papers")
    for paper in DRAWN:
        (root / "reports/papers" / paper).mkdir(parents=True)
        (root / "reports/papers" / paper / "params.yaml").write_text("runs: {}\n")
    shared, room = root / "reports/papers/data", root / "reports/papers/procrustean"
    entries = {}
    for method in METHODS:
        overrides, name = (
            [f"method={method}", *SHORT, *WATCHED.get(method, PLANE if method == "mfw_step" else ())],
            f"digits-exp-20-{method}",
        )
        folder = tmp_path_factory.mktemp(method)
        shutil.copytree(split_digits / "data/raw", folder / "data/raw")
        (folder / "params.yaml").write_text(yaml.safe_dump(composed(*overrides)))
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(folder)
            ok("split", "represent", "classify", "evaluate")
        recipe = cells.digest(composed(*overrides), cells.SECTIONS["runs"])
        entries[name] = {"compose": " ".join(overrides), "recipe": recipe, "data": "digits", "split": "digits-exp-20"}
        entries[name]["of"] = name
        shutil.copytree(folder / "reports", room / "metrics" / name)
        shutil.copytree(folder / "data/classifier", room / "data/classifier" / name)
        shutil.copy2(folder / "data/classifier/manifest.json", room / "metrics" / name)
    entries["digits-exp-20-crt"] = entries["digits-exp-20-joint"]  # planned, not run
    shutil.copytree(folder / "data/raw", shared / "raw/digits")
    shutil.copytree(folder / "data/splits", shared / "splits/digits-exp-20")
    (room / "params.yaml").write_text(yaml.safe_dump({"runs": entries}, sort_keys=False, width=1000))
    shutil.copytree(ROOT / "conf", root / "conf")
    return root


@pytest.fixture
def papers(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of them as the working directory."""
    shutil.copytree(made, tmp_path / "papers")
    monkeypatch.chdir(tmp_path / "papers")
    return Path()


def test_every_figure_of_a_paper_s_runs(papers: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs = [f"procrustean/digits-exp-20-{method}" for method in METHODS]
    for paper, stems in DRAWN.items():
        assert start("analyse", paper, *runs) is None
        folder = Path("reports/papers", paper, "analyses")
        page = (folder / "README.md").read_text()
        assert sorted(path.stem for path in folder.glob("*.csv")) == [f"{stem}-digits-exp-20" for stem in stems]
        for stem in stems:
            assert (folder / f"{stem}-digits-exp-20.svg").read_text().startswith("<?xml")
            assert f"({stem}-digits-exp-20.svg)" in page and f"({stem}-digits-exp-20.csv)" in page
    assert "left out" not in capsys.readouterr().out

    def read(paper: str, stem: str) -> pd.DataFrame:
        return pd.read_csv(f"reports/papers/{paper}/analyses/{stem}-digits-exp-20.csv")

    # What the figures say is what the runs' own metrics say.
    accuracy = read("decoupling", "figure1_accuracy").set_index(["run", "group"]).accuracy
    assert set(accuracy.index.levels[0]) == {f"procrustean/digits-exp-20-{m}" for m in ("joint", "tau_norm")}
    tau = read("decoupling", "figure2_tau").set_index(["run", "tau", "group"]).accuracy
    expected = accuracy["procrustean/digits-exp-20-tau_norm", "all"]
    assert tau["procrustean/digits-exp-20-joint", 0.7, "all"] == pytest.approx(expected, abs=1e-3)
    assert set(read("balance", "figure3_gain").baseline) == {"RRS-Only", "CBS-Only"}
    layers = read("end_to_end", "figure7_singular_values").groupby("run").layer.unique()
    assert layers["procrustean/digits-exp-20-joint"].tolist()[-1] == "layer_p"
    assert layers["procrustean/digits-exp-20-cw_ldam"].tolist()[-1] == "layer_w"
    events = read("switching", "figure7_events")
    assert events.images.sum() == events.drop_duplicates("class")["count"].sum()
    assert events.learned.max() <= 9 and (events.epochs == 9).all()
    plane = read("procrustean", "figure5_plane")
    assert plane.epoch.unique().tolist() == [1, 3, 5, 7, 9] and set(plane.run) == {"digits-exp-20-mfw_step"}
    losses = read("balance", "figure2_loss")
    assert set(losses.run) == {f"procrustean/digits-exp-20-{method}" for method in WATCHED}
    assert (losses.groupby(["run", "class"]).epoch.count() == 9).all() and losses["class"].nunique() == 10


def test_the_same_bytes_again_and_other_runs_stay(papers: Path) -> None:
    command = ("analyse", "procrustean", "digits-exp-20-joint", "digits-exp-20-cbs")
    assert start(*command) is None
    before = files()
    assert start(*command) is None
    assert files() == before
    # One alone, where the other's networks are gone: its rows stay, and the file is that of both.
    shutil.rmtree("reports/papers/procrustean/data/classifier/digits-exp-20-cbs")
    assert start("analyse", "procrustean", "digits-exp-20-joint") is None
    assert Path("reports/papers/procrustean/analyses").is_dir()
    assert {name: content for name, content in before.items() if "/analyses/" in name} == {
        name: content for name, content in files().items() if "/analyses/" in name
    }


def test_runs_one_after_the_other_give_the_file_of_both_together(papers: Path) -> None:
    """Also where columns have numbers for names, as channels have."""
    runs = ("procrustean/digits-exp-20-cbs", "procrustean/digits-exp-20-joint")
    path = Path("reports/papers/end_to_end/analyses/figure2_correlation-digits-exp-20.csv")
    assert start("analyse", "end_to_end", *runs, "--only", "figure2_correlation") is None
    together = path.read_bytes()
    path.unlink()
    for run in runs:
        assert start("analyse", "end_to_end", run, "--only", "figure2_correlation") is None
    assert path.read_bytes() == together and pd.read_csv(path).notna().all(axis=None)


def test_what_cannot_be_drawn_says_why(papers: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = Path("reports/papers/procrustean/data/classifier/digits-exp-20-joint/checkpoint.pt")

    def refused_line(*arguments: str) -> str:
        line = start("analyse", *arguments)
        assert isinstance(line, str) and line.startswith("error: ") and "\n" not in line
        return line

    assert "has no recorded run 'digits-exp-20-crt'" in refused_line("procrustean", "digits-exp-20-crt")
    assert "balance has no recorded run: run one" in refused_line("balance")
    assert "did you mean 'digits-exp-20-joint'" in refused_line("procrustean", "digits-exp-20-joins")
    assert "name no runs with it" in refused_line("procrustean", "digits-exp-20-joint", "--experiment")
    alter(path)
    assert f"{path} is not what" in refused_line("procrustean", "digits-exp-20-joint")
    path.unlink()
    assert start("analyse", "procrustean", "digits-exp-20-joint") is None
    assert f"left out of the figures that need it: digits-exp-20-joint: {path} is not here" in capsys.readouterr().out


def test_the_current_experiment(trained: Workplace) -> None:
    for paper in DRAWN:
        assert start("analyse", paper, "--experiment") is None
    found = {path.relative_to("reports/analyses").as_posix() for path in Path("reports/analyses").rglob("*.svg")}
    # These need a baseline, events, or what was observed.
    kept = {"figure3_gain", "figure7_events", "table12_irregularity", "figure1_progress", "figure4_learning_speed"}
    kept |= {"figure4_feature_gradient", "figure2_loss", "figure6_gradient_norm", "figure5_plane"}
    assert found == {
        f"{paper}/{stem}-digits-exp-20.svg" for paper, stems in DRAWN.items() for stem in stems if stem not in kept
    }


def test_one_figure_under_another_name_with_a_text_by_hand_below_it(papers: Path) -> None:
    run = Path("reports/papers/procrustean")
    name = "digits-exp-20-joint"
    shutil.copy2(run / f"data/classifier/{name}/checkpoint.pt", "checkpoint.pt")
    (papers / "data/classifier").mkdir(parents=True)
    shutil.move("checkpoint.pt", "data/classifier/checkpoint.pt")
    (papers / "params.yaml").write_text(yaml.safe_dump(composed("method=joint", *SHORT, *WATCHED["joint"])))
    arguments = ("--experiment", "--reports", str(run / "metrics" / name), "--out", "figures")
    (papers / "figures").mkdir()
    (papers / "figures/figure2_loss-digits-exp-20.md").write_text("Of a short run.\n")
    assert start("analyse", "balance", *arguments, "--name", "short", "--only", "figure2_loss") is None
    assert sorted(path.name for path in Path("figures").iterdir()) == [
        "README.md",
        *(f"figure2_loss-digits-exp-20.{kind}" for kind in ("csv", "md", "svg")),
    ]
    assert set(pd.read_csv("figures/figure2_loss-digits-exp-20.csv").run) == {"short"}
    page = Path("figures/README.md").read_text()
    assert page.index("Runs: `short`") < page.index("Of a short run.")
    assert "no figure 'figure9': it has figure2_loss, figure3_gain" in str(
        start("analyse", "balance", "--only", "figure9")
    )
    assert "--name is for --experiment" in str(start("analyse", "balance", "--name", "short"))
