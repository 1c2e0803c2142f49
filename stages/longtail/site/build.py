"""All pages of the site, from what is in git."""

from __future__ import annotations

from pathlib import Path

from stages.longtail.papers import published, results, scoreboard
from stages.longtail.site import board, printed, recorded
from stages.longtail.site.writing import Site


def build(out: Path, reports: Path, conf: Path) -> tuple[int, int]:
    """Write the site. Returns how many pages it has and its bytes. Raises UserError if `out` holds something else."""
    site, papers = Site(out), reports / "papers"
    cells = {path.parent.name: results.cells(path.parent, conf) for path in published.files(papers)}
    runs = recorded.read(papers, conf)
    pages = {(run.paper, run.name): run.page for run in runs}
    tables = {paper: printed.tables(mine) for paper, mine in cells.items()}
    rows = board.rows(cells, runs)
    rules = recorded.rules(runs)
    site.page("index.html", "index", rows=rows.to_dict("records"), rules=rules, pages=pages, runs=runs)
    for paper, mine in tables.items():
        about = (papers / paper / "about.md").read_text()
        counts = scoreboard.counts(cells[paper])
        site.page(f"papers/{paper}.html", "paper", paper=paper, about=about, counts=counts, tables=mine)
        for table in mine:
            shown = {"paper": paper, "table": table, "pages": pages, "agreement": printed.AGREEMENT}
            site.page(f"papers/{paper}/table{table.number}.html", "table", **shown)
    for run in runs:
        site.page(run.page, "run", run=run, rules=rules)
    return site.finish()
