"""A method in one look: its difference from `joint`, the functions that make it, who prints it, what is uncertain."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from stages.longtail.configuration.composition import compose
from stages.longtail.console.errors import UserError
from stages.longtail.console.suggestions import suggest
from stages.longtail.papers import implementation, methods, plan, preset, published

BASELINE = "joint"
WIDTH = 110  # characters of a line
SHOWN = 330  # characters of a ledger entry
ABSENT = object()
# Kinds by whose names the ledger speaks of what they do; those of samplers are also everyday words.
NAMED = {kind for axis, kinds in implementation.FUNCTIONS.items() if axis != "sampler" for kind in kinds} - {
    *("all", "head", "none", "continue", "tasks", implementation.ANY)
}


def differences(method: str, conf: Path) -> dict[str, tuple[Any, Any]]:
    """How the parameters that `method` composes differ from those of `joint`, on the default experiment.

    If a kind is replaced, the settings that only the old kind had are left out: they say nothing about the method.

    Returns:
        By dotted key the value of `joint` and that of `method`; ABSENT if `joint` has no such key.
    """
    return _changed(*(preset.settings(compose([f"method={name}"], conf)) for name in (BASELINE, method)))


def differences_of_run(overrides: Sequence[str], conf: Path) -> dict[str, tuple[Any, Any]]:
    """The same of a run, from `joint` on its data under its protocol. overrides: what composes the run."""
    place = [part for part in overrides if part.startswith(("dataset=", "protocol=", "split.profile=", "split.ratio="))]
    both = ([*place, f"method={BASELINE}"], overrides)
    return _changed(*(preset.settings(compose(one, conf)) for one in both))


def _changed(before: dict[str, Any], after: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    result = {}
    for key, value in after.items():
        was = before.get(key, before.get(key.removesuffix(".kind"), ABSENT))  # sampler: null, then sampler.kind
        if was != value:
            result[key] = was, value
    return result


def functions(method: str, conf: Path) -> list[implementation.Place]:
    """The functions and classes that make the difference from `joint`."""
    settings = preset.settings(compose([f"method={method}"], conf))
    return [implementation.locate(name) for name in implementation.functions(settings, differences(method, conf))]


def explain(method: str, conf: Path, folder: Path) -> str:
    """The whole explanation, as text.

    Args:
        method: the name of a preset.
        conf: the presets.
        folder: the papers', with their printed numbers, their pages and the ledger.

    Raises:
        UserError: no preset has this name; the message has the closest one.
    """
    known = methods.names(conf)
    if method not in known:
        raise UserError(f"no method is called '{method}'{suggest(method, known, 'python -m stages.methods')}")
    cells = published.read_all(folder, conf)
    cells = cells[cells.method == method]
    papers = papers_of(method, cells, conf, folder)
    parts = [
        (f"{method}: {methods.sentence(method, conf)}", [reference(folder / paper / "about.md") for paper in papers]),
        (f"Difference from {BASELINE}", _difference_lines(method, conf)),
        ("Made by", [_place_line(place) for place in functions(method, conf)] or ["nothing: it is the baseline"]),
        ("Printed in", _table_lines(cells)),
        ("Ledger", _ledger_lines(method, conf, papers, folder / "DISCREPANCIES.md")),
        ("Run it", _commands(method, cells)),
    ]
    return "\n\n".join("\n".join([head, *(_wrap(line) for line in lines)]) for head, lines in parts)


def _wrap(line: str) -> str:
    return textwrap.fill(
        line, WIDTH, initial_indent="  ", subsequent_indent="      ", break_long_words=False, break_on_hyphens=False
    )


def papers_of(method: str, cells: pd.DataFrame, conf: Path, folder: Path) -> list[str]:
    """The papers that the method's sentence names or that print it. cells: the printed ones of this method."""
    named = re.findall(r"`(\w+)`", methods.sentence(method, conf))
    return [paper for paper in dict.fromkeys([*named, *cells.paper]) if (folder / paper / "about.md").is_file()]


def reference(about: Path) -> str:
    """The paper, from the second paragraph of its about.md."""
    return f"{about.parent.name}: " + " ".join(about.read_text().split("\n\n")[1].split()).replace("*", "")


def _difference_lines(method: str, conf: Path) -> list[str]:
    return difference_lines(differences(method, conf)) or ["none: every method is compared with this one"]


def difference_lines(found: dict[str, tuple[Any, Any]]) -> list[str]:
    """What `differences` found, as one line per key."""
    return [
        f"{key.removesuffix('.kind')}: {'' if was is ABSENT else preset.shown(was) + ' -> '}{preset.shown(value)}"
        for key, (was, value) in found.items()
    ]


def _place_line(place: implementation.Place) -> str:
    path = place.path.relative_to(implementation.LIBRARY.parents[1])
    return f"{path}:{place.line} {place.name.split(':')[1]}: {place.summary}"


def _table_lines(cells: pd.DataFrame) -> list[str]:
    """A line for each table, with its rows and the data of their cells."""
    lines = []
    for (paper, table), mine in cells.groupby(["paper", "table"], sort=False):
        subsets = dict.fromkeys(plan.subset_name(cell) for _, cell in mine.iterrows())
        rows = [f"'{row}'" for row in mine.row.unique()]
        numbers = "1 number" if len(mine) == 1 else f"{len(mine)} numbers"
        lines.append(f"{paper} {published.place(table)}, {numbers} in {', '.join(rows)}: {', '.join(subsets)}")
    return lines or ["no table of the five papers"]


def _ledger_lines(method: str, conf: Path, papers: list[str], ledger: Path) -> list[str]:
    lines = [
        f"{ledger}:{number} {textwrap.shorten(line.strip('| '), SHOWN, placeholder=' ...')}"
        for number, line in touching(method, conf, papers, ledger).items()
    ]
    pages = ", ".join(str(ledger.parent / paper / "README.md") for paper in papers)
    return [*lines, f"{'more' if lines else 'nothing about this method alone'}: {pages or ledger}"]


def touching(method: str, conf: Path, papers: list[str], ledger: Path) -> dict[int, str]:
    """Lines of the ledger about these papers that name the method, one of its settings, or its sentence's place in a
    paper: line number -> line."""
    found = differences(method, conf)
    words = [rf"`{method}`"] if method not in papers else []
    words += [rf"(?<![\w.-]){re.escape(value)}(?![\w-])" for _, value in found.values() if value in NAMED]
    words += [re.escape(".".join(key.split(".")[-2:])) for key in found if not key.endswith(".kind")]
    named = re.compile("|".join(words) or "$^", re.I)
    places = re.findall(r"(?:Eq\.|Table|Algorithm) \d+", methods.sentence(method, conf))
    places += [place.replace("Algorithm", "Alg.") for place in places]
    lines = {}
    for number, line in enumerate(ledger.read_text().splitlines(), 1):
        where, says = (cell.strip() for cell in line.split("|")[1:3]) if line.startswith("| ") else ("", "")
        mine = any(f"`{paper}`" in where for paper in papers)
        at = mine and any(re.search(rf"{re.escape(place)}(?!\d)", f"{where} {says}") for place in places)
        if at or ((mine or where.startswith("all")) and named.search(line)):
            lines[number] = line
    return lines


def _commands(method: str, cells: pd.DataFrame) -> list[str]:
    lines = [f"dvc exp run -S method={method}"]
    lines += [
        f"python -m stages.methods --rows {paper}  (the command of each printed row)" for paper in cells.paper.unique()
    ]
    return lines
