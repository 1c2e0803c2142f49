"""All pages of the site, from what is in git."""

from __future__ import annotations

import base64
import gzip
import re
from pathlib import Path

import pandas as pd
import vl_convert

from stages.longtail.papers import board as one_protocol
from stages.longtail.papers import methods, page, published, results, scoreboard, scoreboard_figure
from stages.longtail.site import (
    board,
    charts,
    claims,
    compared,
    downloads,
    heat,
    ledger,
    markdown,
    method_view,
    printed,
    recorded,
    run_view,
)
from stages.longtail.site.writing import Site


def build(out: Path, reports: Path, conf: Path) -> tuple[int, int]:
    """Write the site. Returns how many pages and how many bytes it has.

    Raises:
        UserError: `out` is a folder with something else.
    """
    with Site(out) as site:
        _write(site, reports / "papers", conf)
        return site.finish()


def _write(site: Site, papers: Path, conf: Path) -> None:
    cells = {path.parent.name: results.cells(path.parent, conf) for path in published.files(papers)}
    every = pd.concat(cells.values(), ignore_index=True)
    runs = recorded.read(papers, conf)
    rules = recorded.rules(runs)
    rows = board.rows(cells, runs)
    site.common |= {
        "pages": {(run.paper, run.name): run.page for run in runs},
        "papers": list(cells),
        "methods": methods.names(conf),
        "rules": rules,
        "selections": results.SELECTIONS,
    }
    tables = {paper: printed.tables(mine) for paper, mine in cells.items()}
    _front(site, cells, every, rows, papers, runs)
    for paper, mine in tables.items():
        _paper(site, paper, cells[paper], mine, papers)
    places = compared.places(one_protocol.tables(papers, list(cells), conf), runs)
    site.page("compared.html", "compared", places=places)
    for run in runs:
        site.page(run.page, "run", **run_view.context(run, cells[run.paper], conf, papers / "DISCREPANCIES.md"))
    found = [method_view.context(method, every, runs, conf, papers) for method in methods.names(conf)]
    site.page("methods.html", "methods", found=found)
    for method in found:
        site.page(f"methods/{method['method']}.html", "method", **method)
    lines = ledger.read(papers / "DISCREPANCIES.md")
    site.page("ledger.html", "ledger", lines=lines)
    frames = downloads.frames(rows, every, runs, lines)
    for name, frame in frames.items():
        site.text(f"data/{name}.csv", frame.to_csv(index=False, lineterminator="\n"))
        site.data(f"data/{name}.json.gz", gzip.compress(downloads.as_json(frame).encode(), mtime=0))
    site.page("data.html", "data", frames=frames, columns=downloads.COLUMNS)
    library = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed").encode()
    packed = base64.b64encode(gzip.compress(library, mtime=0)).decode()
    site.text("assets/charts.js", f'const packedLibrary = "{packed}";\n')  # see page.js


def _front(
    site: Site,
    cells: dict[str, pd.DataFrame],
    every: pd.DataFrame,
    rows: pd.DataFrame,
    papers: Path,
    runs: list[recorded.Recorded],
) -> None:
    counts = {paper: scoreboard.counts(mine) for paper, mine in cells.items()} | {"all": scoreboard.counts(every)}
    dumbbells = scoreboard_figure.rows(cells)
    short = {(run.paper, run.name): f"{run.short}, {run.paper} {run.subset}" for run in runs}
    names = [short[row.paper, row.run] for row in dumbbells.itertuples()]
    site.page(
        "index.html",
        "index",
        rows=rows.to_dict("records"),
        counts=pd.DataFrame(counts.values(), index=list(counts)).fillna("-").to_dict("index"),
        figure=charts.scoreboard(dumbbells, names) if len(dumbbells) else None,
        heat=heat.cells(cells),
        recorded=len(runs),
        printed=len(every),
    )


def _paper(site: Site, paper: str, cells: pd.DataFrame, tables: list[printed.Table], papers: Path) -> None:
    folder = papers / paper
    analyses = page.analyses(folder)
    for name in markdown.files(analyses, "analyses"):
        text = (folder / name).read_text()
        site.text(f"papers/{paper}/{name}", _smaller(text) if name.endswith(".svg") else text)
    about = (folder / "about.md").read_text()
    before, first, rest = claims.sections(about)
    site.page(
        f"papers/{paper}.html",
        "paper",
        paper=paper,
        head=before,
        claimed=claims.without(first),
        rest=rest,
        claims=claims.read(about, cells),
        outcome=page.outcome(cells),
        variants=page.variants(cells, folder),
        analyses=analyses,
        tables=tables,
        agreement=printed.AGREEMENT,
    )
    for table in tables:
        path = f"papers/{paper}/table{table.number}.html"
        run = cells[(cells.table == table.number) & cells["last"].notna()]
        precision = results.in_other_precision(run).replace("`", "")
        site.page(path, "table", paper=paper, table=table, agreement=printed.AGREEMENT, precision=precision)


def _smaller(svg: str) -> str:
    """The same drawing in two thirds of the size.

    A browser needs none of what is left out: Matplotlib's metadata, indentation and list of fonts, names that nothing
    refers to, and more than a tenth of a point.
    """
    svg = re.sub(r"\s*<metadata>.*?</metadata>", "", svg, flags=re.S)
    svg = re.sub(r' id="([^"]*)"', lambda found: found[0] if f"#{found[1]}" in svg else "", svg)
    svg = re.sub(r"font-family: [^;\"]*\bsans-serif", "font-family: sans-serif", svg)
    svg = re.sub(r"\n\s+", "\n", svg)
    return re.sub(r"(\d\.\d)\d+", r"\1", svg)
