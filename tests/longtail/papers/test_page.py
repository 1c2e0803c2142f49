"""A paper's page takes in the figures that were drawn for it."""

import json
from pathlib import Path

import pandas as pd
import pytest
import yaml

from stages.longtail.papers import page


def test_the_page_shows_the_figures_by_paths_from_its_own_folder(tmp_path: Path) -> None:
    assert page.analyses(tmp_path) == ""
    (tmp_path / "analyses").mkdir()
    text = "# toy: the paper's own analyses\n\nBefore.\n\n## Figure 1\n\n![Figure 1](one.svg)\n\nWhat. [csv](one.csv)\n"
    (tmp_path / "analyses/README.md").write_text(text)
    expected = "Before.\n\n### Figure 1\n\n![Figure 1](analyses/one.svg)\n\nWhat. [csv](analyses/one.csv)"
    assert page.analyses(tmp_path) == expected


def test_a_variant_stands_below_its_run_with_the_precision_of_either(tmp_path: Path) -> None:
    runs = {
        "joint": {"compose": "seeds=[0]", "changes": "runtime.precision=fp32"},
        "joint+precision=bf16": {"compose": "seeds=[0]", "changes": "runtime.precision=bf16", "varies": "joint"},
    }
    (tmp_path / "params.yaml").write_text(yaml.safe_dump({"runs": runs}))
    for name in runs:
        (tmp_path / "metrics" / name).mkdir(parents=True)
        (tmp_path / "metrics" / name / "metrics.json").write_text(json.dumps({"acc": {"all": 70.0}}))
        (tmp_path / "metrics" / name / "per_class.csv").write_text("class,accuracy,shot\n0,70,many\n")
    cells = pd.DataFrame({"run": ["joint"], "measure": "top1", "group": "all", "value": 71.0})
    rows = [
        [cell.strip() for cell in line.split("|")[1:3]] for line in page.variants(cells, tmp_path).splitlines()[2:4]
    ]
    assert rows == [[f"`{name}`", f"`{entry['changes']}`"] for name, entry in runs.items()]


@pytest.mark.parametrize("path", sorted(Path("reports/papers").glob("*/analyses/README.md")), ids=lambda p: p.parts[-3])
def test_every_figure_of_a_page_is_there(path: Path) -> None:
    for link in [part.split(")")[0] for part in path.read_text().split("](")[1:]]:
        assert (path.parent / link).is_file(), link
        assert f"](analyses/{link})" in (path.parents[1] / "README.md").read_text()
