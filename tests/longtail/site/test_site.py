"""The page's files: every link holds, every number is that of the csv, nothing is loaded from elsewhere."""

from __future__ import annotations

import gzip
import itertools
import json
import re
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pandas as pd
import pytest
from built_site import Element, build_site, read
from conftest import ROOT

from stages.longtail.console.errors import UserError
from stages.longtail.evaluation import rounding
from stages.longtail.papers import explanation, printed_tables, published, requested_runs, results
from stages.longtail.site import build, claims, printed, run_view
from stages.longtail.site.writing import Site

PAPERS = ROOT / "reports/papers"
NAMES = [path.parent.name for path in published.files(PAPERS)]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_site(tmp_path_factory)


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[Path, Element]:
    return {path: read(path) for path in sorted(site.rglob("*.html"))}


def test_every_link_holds(site: Path, pages: dict[Path, Element]) -> None:
    anchors = {
        path: {e.attributes["id"] for e in elements(page) if "id" in e.attributes} for path, page in pages.items()
    }
    count = 0
    for path, page in pages.items():
        for element in elements(page):
            target = element.attributes.get("href", element.attributes.get("src", ""))
            if not target or target.startswith("data:"):
                continue
            file, _, anchor = target.partition("#")
            there = (path.parent / unquote(file)).resolve() if file else path
            assert there.is_file() and there.is_relative_to(site.resolve()), f"{path}: {target}"
            known = not anchor or "=" in anchor or anchor in anchors[there]  # search=joint is for a page's filters
            assert known, f"{path}: {target}"
            count += 1
    assert count > 900


def test_nothing_is_loaded_from_elsewhere(site: Path, pages: dict[Path, Element]) -> None:
    for path, page in pages.items():
        for element in elements(page):
            for name, value in element.attributes.items():
                assert not re.match(r"(https?:)?//", value), f"{path}: {name}={value}"
    style = (site / "assets/style.css").read_text()
    assert "url(" not in style and "@import" not in style


def test_the_pages_are_sound(pages: dict[Path, Element]) -> None:
    for path, page in pages.items():
        ids = [e.attributes["id"] for e in elements(page) if "id" in e.attributes]
        assert len(ids) == len(set(ids)), f"{path} has an id twice"
        assert [len(page.all(tag)) for tag in ("title", "h1", "main")] == [1, 1, 1], path
        for row in page.all("table"):
            widths = {len(one.all("td")) + len(one.all("th")) for one in row.all("tr")}
            assert len(widths) == 1, f"{path}: a table's lines differ in length: {widths}"


def test_the_site_is_small(site: Path) -> None:
    """Everything in it has less than 3 MB with up to 28 runs; each further run may bring a page of its own."""
    runs = len(list(site.glob("runs/*/*.html")))
    size = sum(path.stat().st_size for path in site.rglob("*") if path.is_file())
    assert size < 3e6 + 60_000 * max(0, runs - 28)


@pytest.mark.parametrize("paper", NAMES)
def test_the_numbers_of_a_table_are_those_of_its_csv(paper: str, site: Path, pages: dict[Path, Element]) -> None:
    cells = results.cells(PAPERS / paper, ROOT / "conf")
    for number in cells.table.unique():
        there = site / f"papers/{paper}/table{number:g}.html"
        shown = numbers(pages[there].all("table")[0])
        frame = pd.read_csv(
            PAPERS / paper / f"table{number:g}.csv", dtype={"row": str}, keep_default_na=False, na_values=[""]
        )
        mine = cells[cells.table == number].reset_index(drop=True)
        wanted: dict[str, list[list[str]]] = {}
        for cell, line in zip(frame.itertuples(), mine.itertuples(), strict=True):
            digits = printed_tables.decimals(mine.loc[line.Index])
            one = [rounding.text(cell.published, digits)]
            if pd.notna(cell.last):
                difference = rounding.text(cell.last - cell.published, digits, sign=True)
                one = [rounding.text(cell.last, digits), difference, *one]
            wanted.setdefault(cell.row, []).append(one)
        assert shown == {row: sorted(ones) for row, ones in wanted.items()}, f"{paper}, table {number}"


def test_a_run_has_the_numbers_that_tables_print_of_it(site: Path, pages: dict[Path, Element]) -> None:
    for paper in NAMES:
        cells = results.cells(PAPERS / paper, ROOT / "conf")
        for name, mine in cells[cells["last"].notna()].groupby("run"):
            wanted = [rounding.text(cell.value, printed_tables.decimals(cell)) for _, cell in mine.iterrows()]
            tables = pages[site / f"runs/{paper}/{name}.html"].all("table")
            printed = next(table for table in tables if table.all("th")[-1].text == "published")
            assert [row.all("td")[-1].text for row in printed.all("tr")[1:]] == wanted


def test_the_board_has_every_recorded_run_and_its_numbers(site: Path, pages: dict[Path, Element]) -> None:
    table = next(one for one in pages[site / "index.html"].all("table") if one.attributes.get("id") == "board-table")
    found: dict[str, set[str]] = {}
    for row in table.all("tr")[1:]:
        for link in row.all("a"):
            if "data-run" in link.attributes:
                last = row.all("td")[1].text.split()[0]
                found.setdefault(unquote(link.attributes["href"]), set()).add(last)
    wanted = {}
    for paper in NAMES:
        for name in requested_runs.read(PAPERS / paper):
            metrics = PAPERS / paper / "metrics" / name / "metrics.json"
            if metrics.is_file():
                accuracy = json.loads(metrics.read_text())["acc"]["all"]
                wanted[f"runs/{paper}/{name}.html"] = {rounding.text(accuracy, 1)}
    assert found == wanted


@pytest.mark.parametrize("file", sorted(PAPERS.glob("*/metrics/*/per_class.csv")), ids=lambda path: path.parent.name)
def test_a_run_has_its_accuracies_by_class_and_they_are_the_diagonal_of_its_confusion(
    file: Path, site: Path, pages: dict[Path, Element]
) -> None:
    page = pages[site / f"runs/{file.parents[2].name}/{file.parent.name}.html"]
    wanted = [rounding.text(accuracy, 1) for accuracy in pd.read_csv(file).accuracy]
    by_class = next(table for table in page.all("table") if table.all("th")[0].text == "rank")
    assert [row.all("td")[4].text for row in by_class.all("tr")[1:]] == wanted
    confusion = [table for table in page.all("table") if table.attributes.get("class") == "confusion"]
    kept = (file.parent / "predictions.npz").is_file()
    assert ("Confusion" in page.text) == kept
    assert bool(confusion) == (kept and len(wanted) <= run_view.MATRIX)
    if confusion:
        shares = [[cell.text for cell in row.all("td")] for row in confusion[0].all("tr")[1:]]
        assert [shares[i][i] for i in range(len(shares))] == wanted
        assert all(abs(sum(map(float, row)) - 100) < 0.5 for row in shares)


def test_a_method_page_says_what_the_command_says(site: Path, pages: dict[Path, Element]) -> None:
    said = explanation.explain("mfw_drw", ROOT / "conf", PAPERS)
    text = pages[site / "methods/mfw_drw.html"].text
    for line in said.split("Difference from joint\n")[1].split("\n\n")[0].splitlines():
        assert line.strip() in text
    numbers = re.findall(r"DISCREPANCIES\.md:(\d+)", said)
    assert numbers and f"touch it: {', '.join(numbers)}." in " ".join(text.split())


@pytest.mark.parametrize(
    ("text", "tables"),
    [
        ("Table 5: one switch", [5]),
        ("Tables 1 to 4: one switch", [1, 2, 3, 4]),
        ("Tables 2, 3, 4 and 7: the classifier", [2, 3, 4, 7]),
        ("Table 4, iNaturalist 2018: with DRW", [4]),
        ("its Table 4: behind", []),
    ],
)
def test_a_claim_is_about_the_tables_that_it_begins_with(text: str, tables: list[int]) -> None:
    assert claims.numbers(text) == tables


def test_every_table_of_a_paper_that_about_names_is_claimed_once() -> None:
    cells = results.cells(PAPERS / "procrustean", ROOT / "conf")
    found = claims.read((PAPERS / "procrustean/about.md").read_text(), cells)
    assert [claim.tables for claim in found] == [[1], [2], [3], [4], [5]]
    assert [claim.run for claim in found] == [bool(cells[cells.table == n]["last"].notna().any()) for n in range(1, 6)]


def test_a_paper_page_has_every_word_of_about(site: Path, pages: dict[Path, Element]) -> None:
    for paper in NAMES:
        shown = set(re.findall(r"[a-zA-Z]+", pages[site / f"papers/{paper}.html"].text))
        text = re.sub(r"\]\([^)]*\)", "", (PAPERS / paper / "about.md").read_text())
        assert set(re.findall(r"[a-zA-Z]+", text)) <= shown, paper


def test_the_ledger_has_every_line_of_the_file(site: Path, pages: dict[Path, Element]) -> None:
    lines = (PAPERS / "DISCREPANCIES.md").read_text().splitlines()
    wanted = {number for number, line in enumerate(lines, 1) if line.startswith("| ") and "| it says |" not in line}
    rows = pages[site / "ledger.html"].all("tr")[1:]
    assert {int(row.attributes["id"].removeprefix("line-")) for row in rows} == wanted
    assert all(len(row.all("td")) == 7 for row in rows)


def test_the_downloads_have_every_number_in_both_forms(site: Path) -> None:
    cells = pd.read_csv(site / "data/cells.csv")
    assert len(cells) == sum(len(published.read(path, ROOT / "conf")) for path in published.files(PAPERS))
    for path in (site / "data").glob("*.csv"):
        frame, objects = pd.read_csv(path), json.loads(gzip.decompress(path.with_suffix(".json.gz").read_bytes()))
        assert len(objects) == len(frame) > 0
        for name in frame:
            assert sum(name in one for one in objects) == frame[name].notna().sum(), f"{path.name}: {name}"


def test_what_fails_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(UserError), Site(tmp_path / "site") as site:
        site.text("index.html", "half")
        raise UserError("no more")
    assert not list(tmp_path.iterdir())


def test_a_folder_with_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(UserError, match="holds something else"):
        Site(tmp_path)


def elements(page: Element) -> list[Element]:
    inside = [one for one in page.inside if isinstance(one, Element)]
    return [*inside, *itertools.chain.from_iterable(elements(one) for one in inside)]


def numbers(table: Element) -> dict[str, list[list[str]]]:
    """The numbers of the cells of each row, sorted: the csv has a row's cells in another order."""
    result: dict[str, list[list[str]]] = {}
    for row in table.all("tr")[1:]:
        label = row.all("th")[0].text
        result[label] = sorted(cell.text.split() for cell in row.all("td") if cell.text.strip())
    return result


def test_a_printed_table_names_runs_in_another_precision() -> None:
    class Noted:
        """Keeps what each page is given instead of writing it."""

        def __init__(self) -> None:
            self.notes: dict[str, str] = {}

        def text(self, path: str, content: str) -> None:
            pass

        def page(self, path: str, template: str, **given: Any) -> None:
            self.notes[path] = given.get("precision", "")

    cells = results.cells(PAPERS / "switching", ROOT / "conf")
    cells.loc[cells.run == "cifar10-exp-100-crt", "precision"] = "fp32"
    noted = Noted()
    build._paper(noted, "switching", cells, printed.tables(cells), PAPERS)  # type: ignore[arg-type]
    assert noted.notes["papers/switching/table1.html"] == "Not in bf16: cifar10-exp-100-crt in fp32."
    assert noted.notes["papers/switching/table2.html"] == ""
    assert "{{ precision }}" in (ROOT / "stages/longtail/site/templates/table.html").read_text()
