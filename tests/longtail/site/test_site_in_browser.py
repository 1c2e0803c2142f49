"""The page in a browser: no error, filters filter, sorting sorts, and none of it needs a mouse."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from built_site import build_site
from conftest import ROOT

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)
PAPERS = ROOT / "reports/papers"
pytestmark = pytest.mark.skipif(
    BROWSER is None, reason="no browser, so nothing is clicked: install chromium (apt-get install chromium)"
)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_site(tmp_path_factory)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        arguments = ["--no-sandbox"] if os.getuid() == 0 else []
        started = playwright.chromium.launch(executable_path=BROWSER, args=arguments)
        yield started
        started.close()


@pytest.fixture
def tab(browser: Any) -> Iterator[Any]:
    """Fails where the page has a console error, or asks for anything that is not a file."""
    context = browser.new_context(viewport={"width": 1400, "height": 900})
    page = context.new_page()
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text) if message.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda one: None if one.url.startswith(("file:", "data:")) else said.append(one.url))
    yield page
    context.close()
    assert not said


def shown(tab: Any, column: int = 1) -> list[str]:
    """The text of a column, of the lines that are seen."""
    return tab.locator(f"#board-table tbody tr:visible td:nth-child({column})").all_inner_texts()


def test_no_page_is_wider_than_its_window(tab: Any, site: Path) -> None:
    chosen = [site / "index.html", site / "papers/procrustean/table1.html", next(site.glob("runs/*/*.html"))]
    for path in chosen:
        tab.goto(path.as_uri())
        for width in (400, 1400):
            tab.set_viewport_size({"width": width, "height": 900})
            assert tab.evaluate("document.documentElement.scrollWidth") <= width, f"{path} at {width}"


def test_charts_are_drawn_and_follow_the_mode(tab: Any, site: Path) -> None:
    for path in (site / "index.html", site / "compared.html", next(site.glob("runs/procrustean/*drw*.html"))):
        tab.goto(path.as_uri())
        tab.wait_for_function(
            "document.querySelectorAll('.chart svg').length == document.querySelectorAll('.chart').length"
        )
        widths = tab.evaluate(
            "[...document.querySelectorAll('.chart .root > g > .background')].map(e => e.getBBox().width)"
        )
        assert widths and min(widths) > 300, "a chart without a plane: something is drawn far outside of it"
        inks = []
        for mode in ("light", "dark"):
            tab.emulate_media(color_scheme=mode)
            inks.append(tab.evaluate("getComputedStyle(document.querySelector('.role-axis-label text')).fill"))
        assert inks[0] != inks[1]


def test_a_run_saves_its_history(tab: Any, site: Path) -> None:
    tab.goto(next(site.glob("runs/*/*.html")).as_uri())
    with tab.expect_download() as saved:
        tab.get_by_role("button", name="Save").press("Enter")
    assert Path(saved.value.path()).read_text().startswith("seed,epoch,all,")


def test_filters_filter_and_the_address_keeps_them(tab: Any, site: Path) -> None:
    tab.goto((site / "index.html").as_uri())
    recorded = shown(tab)
    assert "tau_norm" in recorded and "FSA [11]" not in recorded
    tab.locator("form").get_by_label("paper").select_option("switching")
    assert 0 < len(shown(tab)) < len(recorded)
    assert tab.locator("output").inner_text().startswith(f"{len(shown(tab))} of ")
    tab.reload()
    assert 0 < len(shown(tab)) < len(recorded)
    tab.locator("form").get_by_label("search").fill("no such method")
    assert not shown(tab)
    tab.get_by_role("button", name="Reset").click()
    tab.wait_for_timeout(100)
    assert shown(tab) == recorded


def test_the_ledger_is_filtered_by_its_sections(tab: Any, site: Path) -> None:
    tab.goto((site / "ledger.html").as_uri())
    section = tab.get_by_label("section")
    wanted = [line[3:] for line in (PAPERS / "DISCREPANCIES.md").read_text().splitlines() if line.startswith("## ")]
    assert sorted(section.locator("option").all_inner_texts()) == sorted(["all", *wanted])
    rows = tab.locator("#ledger-table tbody tr:visible")
    before = rows.count()
    section.select_option("Evaluation")
    assert 0 < rows.count() < before


def test_the_scoreboard_names_its_axis(tab: Any, site: Path) -> None:
    tab.goto((site / "index.html").as_uri())
    title = tab.locator(".chart svg .role-axis-title text")
    title.wait_for()
    assert title.text_content() == "top-1 accuracy, percent"


def test_sorting_sorts_numbers_as_numbers_from_the_keyboard(tab: Any, site: Path) -> None:
    tab.goto((site / "index.html").as_uri())
    head = tab.get_by_role("button", name="last epoch")
    head.focus()
    for direction, sign in (("descending", -1), ("ascending", 1)):
        tab.keyboard.press("Enter")
        assert head.locator("xpath=..").get_attribute("aria-sort") == direction
        values = [float(text.split()[0]) for text in shown(tab, 2)]
        assert values == sorted(values, key=lambda value: sign * value) and len(set(values)) > 5


def test_the_keyboard_reaches_content_filters_heads_and_runs(tab: Any, site: Path) -> None:
    tab.goto((site / "index.html").as_uri())
    tab.keyboard.press("Tab")
    assert tab.evaluate("document.activeElement.textContent") == "To the content"
    seen = set()
    for _ in range(60):
        tab.keyboard.press("Tab")
        if tab.evaluate("document.activeElement === document.body"):
            break  # past the last
        seen.add(tab.evaluate("(document.activeElement.closest('form, th, td, nav') || document.body).tagName"))
        visible = tab.evaluate("getComputedStyle(document.activeElement).outlineStyle")
        assert visible != "none", tab.evaluate("document.activeElement.outerHTML")
    assert {"NAV", "FORM", "TH", "TD"} <= seen


def test_everything_is_there_without_scripts_and_in_print(browser: Any, site: Path) -> None:
    context = browser.new_context(java_script_enabled=False)
    context.set_default_timeout(120_000)  # a busy machine needs longer than 30 s for the first page
    page = context.new_page()
    page.goto((site / "index.html").as_uri())
    assert page.locator("#board-table tbody tr:visible").count() > 500
    assert not page.locator("form").is_visible()
    page.emulate_media(media="print", color_scheme="dark")
    assert not page.locator("header").is_visible()
    page.set_viewport_size({"width": 760, "height": 1000})  # an A4 page, without its margins
    for path in ("index.html", "papers/procrustean/table1.html", "ledger.html"):
        page.goto((site / path).as_uri())
        assert page.evaluate("document.documentElement.scrollWidth") <= 760, f"{path} is cut off on paper"
    context.close()
