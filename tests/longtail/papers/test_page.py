"""A paper's page takes in the figures that were drawn for it."""

from pathlib import Path

import pytest

from stages.longtail.papers import page


def test_the_page_shows_the_figures_by_paths_from_its_own_folder(tmp_path: Path) -> None:
    assert page.analyses(tmp_path) == ""
    (tmp_path / "analyses").mkdir()
    text = "# toy: the paper's own analyses\n\nBefore.\n\n## Figure 1\n\n![Figure 1](one.svg)\n\nWhat. [csv](one.csv)\n"
    (tmp_path / "analyses/README.md").write_text(text)
    expected = "Before.\n\n### Figure 1\n\n![Figure 1](analyses/one.svg)\n\nWhat. [csv](analyses/one.csv)"
    assert page.analyses(tmp_path) == expected


@pytest.mark.parametrize("path", sorted(Path("reports/papers").glob("*/analyses/README.md")), ids=lambda p: p.parts[-3])
def test_every_figure_of_a_page_is_there(path: Path) -> None:
    for link in [part.split(")")[0] for part in path.read_text().split("](")[1:]]:
        assert (path.parent / link).is_file(), link
        assert f"](analyses/{link})" in (path.parents[1] / "README.md").read_text()
