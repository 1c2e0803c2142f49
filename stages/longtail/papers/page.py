"""A paper's page: reports/papers/<paper>/README.md, from about.md, the results and the ledger."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from stages.longtail.evaluation import rounding
from stages.longtail.files.artifacts import write_text
from stages.longtail.papers import published, requested_runs, results, scoreboard


def write(paper: str, cells: pd.DataFrame, folder: Path, ledger: Path) -> None:
    """about.md is written by hand: reference, verdict, claims, what reproduces, what was easy and what hard."""
    about = (folder / "about.md").read_text().rstrip()
    parts = [about, "## What came out", outcome(cells), "## Tables", _tables(cells)]
    if varied := variants(cells, folder):
        parts += ["## Variants", varied]
    if drawn := analyses(folder):
        parts += ["## The paper's own analyses", drawn]
    parts.append("## Choices and discrepancies")
    write_text(folder / "README.md", "\n\n".join([*parts, entries(paper, ledger), _commands(paper)]) + "\n")


def outcome(cells: pd.DataFrame) -> str:
    """Markdown: how much was run, and what is outside the tolerance."""
    numbers = scoreboard.counts(cells)
    lines = [pd.DataFrame([numbers]).to_markdown(index=False, disable_numparse=True)]
    run = cells[cells["last"].notna()]
    if run.empty:
        return "\n\n".join(["None of its runs was made yet.", *lines])
    outside = run[~results.within(run, "last").astype(bool)]
    names = sorted(set(outside.run))
    lines.append(
        "By the last epoch every cell that was run is within the tolerance."
        if not names
        else f"By the last epoch these runs are outside the tolerance: {', '.join(f'`{name}`' for name in names)}."
    )
    if between := sorted(set(run[results.between(run).fillna(False)].run)):
        lines.append(
            "For these runs the published number is above our last epoch and not above our best test epoch. They "
            f"reached it during training and did not keep it: {', '.join(f'`{name}`' for name in between)}."
        )
    return "\n\n".join(lines)


def _tables(cells: pd.DataFrame) -> str:
    lines = []
    for number, mine in cells.groupby("table", sort=True):
        run, runnable = int(mine["last"].notna().sum()), int((mine.run != "").sum())
        stem, name = f"table{int(number)}", published.place(number).replace(" ", "")
        lines.append(f"- [{name}]({stem}.md) ([LaTeX]({stem}.tex), [csv]({stem}.csv)): {run} of {runnable} cells run")
    return "\n".join(lines)


def variants(cells: pd.DataFrame, folder: Path) -> str:
    """Markdown: variants, which no table has, each below the run that it varies; '' if none has results."""
    every = requested_runs.read(folder)
    requests = {name: request for name, request in every.items() if request.varies}
    runs = results.read_runs(folder, [*requests, *(request.varies for request in requests.values())])
    lines = []
    for base in dict.fromkeys(request.varies for name, request in requests.items() if runs[name]):
        printed = cells[(cells.run == base) & (cells.measure == "top1") & (cells.group == "all") & (cells.value > 1)]
        number = rounding.text(printed.value.iloc[0], 1) if len(printed) else "-"
        changes = " ".join(f"`{change}`" for change in every[base].changes) if base in every else ""
        lines.append({"run": f"`{base}`", "changes": changes, "published": number, **_accuracies(runs[base])})
        for name, request in requests.items():
            if request.varies == base and runs[name]:
                changes = " ".join(f"`{change}`" for change in request.changes)
                lines.append({"run": f"`{name}`", "changes": changes, "published": "", **_accuracies(runs[name])})
    if not lines:
        return ""
    frame = pd.DataFrame(lines)
    explained = "" if all(run.intervals for run in runs.values() if run) else f" {results.NO_INTERVAL}"
    if older := results.without_predictions(name for name, run in runs.items() if run and not run.predictions):
        explained += f" {older}"
    if (frame[results.SELECTIONS["selected"]] == "-").all():
        frame = frame.drop(columns=results.SELECTIONS["selected"])
    else:
        explained += f" {results.HELD_OUT}"
    table = frame.to_markdown(index=False, disable_numparse=True)
    words = "A variant is a run of a table with some parameters changed; no table prints it. Top-1 accuracy, percent"
    return f"{table}\n\n{words} [95% interval from the test images].{explained}"


def analyses(folder: Path) -> str:
    """The figures of analyses/README.md, which python -m stages.analyse writes, without its heading; '' if none."""
    path = folder / "analyses/README.md"
    if not path.is_file():
        return ""
    _, *rest = path.read_text().rstrip().splitlines()
    text = "\n".join(rest).strip().replace("\n## ", "\n### ")
    return text.replace("](", "](analyses/")


def _accuracies(run: results.Run | None) -> dict[str, str]:
    """By each rule, mean ± standard deviation over seeds; the groups by the last epoch."""
    metrics = run.metrics if run else {}
    shown = {}
    for which, head in results.SELECTIONS.items():
        name, key = ("acc", "std") if which == "last" else (which, f"{which}_std")
        value, deviation = metrics.get(name, {}).get("all"), metrics.get(key, {}).get("all")
        text = "-" if value is None else rounding.text(value, 1)
        text += "" if deviation is None else f" ± {rounding.text(deviation, 1)}"
        if which == "last" and run and "all" in run.intervals:
            text += " [{} to {}]".format(*(rounding.text(run.intervals["all"][end], 1) for end in ("low", "high")))
        shown[head] = text
    for group in ("many", "medium", "few"):
        value = metrics.get("acc", {}).get(group)
        shown[group] = "-" if value is None else rounding.text(value, 1)
    return shown | {"seeds": str(metrics.get("seeds", "-"))}


def entries(paper: str, ledger: Path) -> str:
    """The ledger's rows of a paper, and those of all papers."""
    rows = [line for line in ledger.read_text().splitlines() if line.startswith("| ")]
    head = next(line for line in rows if line.startswith("| paper, section"))
    mine = [line for line in rows if f"`{paper}`" in line.split("|")[1] or line.split("|")[1].strip().startswith("all")]
    rule = "|" + "---|" * (head.count("|") - 1)
    return "\n".join([head, rule, *mine])


def _commands(paper: str) -> str:
    return (
        f"## Running it\n\n`python -m stages.tables --paper {paper} --missing` lists the runs without results, "
        f"each with "
        "the command that runs it. The first ones bring the most numbers for their cost. `make tables` writes "
        "these pages."
    )
