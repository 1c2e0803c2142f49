"""The requested runs of a paper: reports/papers/<paper>/params.yaml, from which DVC makes its stages.

A request names a run of the plan, or a variant of one with some parameters changed, and the seeds that it should have.
Everything else in the file follows from the plan and conf/.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from stages.longtail.configuration import cells
from stages.longtail.configuration.composition import compose
from stages.longtail.configuration.parameters import Params
from stages.longtail.console.errors import UserError
from stages.longtail.console.suggestions import suggest
from stages.longtail.files import yaml_files
from stages.longtail.files.artifacts import write_text
from stages.longtail.papers import plan as plans
from stages.longtail.papers import published

HEAD = "# What was asked for by python -m stages.launch; --update brings it up to date with the plan and conf/.\n"
METRICS_HEAD = "# The recorded runs, for dvc metrics and dvc plots: written with the tables.\n"
METRICS = ("metrics.json",)  # the files of a run that `dvc metrics` shows
# What `dvc plots` draws of all recorded runs on a subset: title, file, columns of x and y, and their labels.
PLOTS = (
    ("test accuracy by epoch", "history.csv", ("epoch", "epoch"), ("test_all", "test accuracy, percent")),
    (
        "test accuracy by class",
        "per_class.csv",
        ("rank", "class, the one with the most training images first"),
        ("accuracy", "test accuracy, percent"),
    ),
)


@dataclass(frozen=True)
class Request:
    """A run that was requested.

    varies: for a variant, the run of the plan that it changes, else ''. changes: what it changes; without `varies` a
    precision that suits the machine, of which the papers say nothing, so that the tables have the run all the same.
    older: it was recorded before all the files of a run were kept.
    """

    name: str
    seeds: tuple[int, ...]
    varies: str = ""
    changes: tuple[str, ...] = ()
    older: bool = False


def variant_name(run: str, changes: Iterable[str]) -> str:
    """A name such as cifar10-exp-100-mfw+beta=0.5, safe as the name of a stage and of a file.

    Raises UserError if a change is not section.key=value.
    """
    parts = []
    for change in changes:
        key, equals, value = change.partition("=")
        if not equals or not key or not value or key == "seeds" or change.split() != [change]:
            raise UserError(
                f"--set {change}: expected section.key=value without spaces, as dvc exp run -S takes it; seeds by "
                "--seeds"
            )
        parts.append(f"+{key.split('.')[-1]}={re.sub('[^A-Za-z0-9._-]+', '.', value).strip('.')}")
    if len(set(part.split("=")[0] for part in parts)) < len(parts):
        raise UserError(f"{run}: two of the changes have the same last key: ask for them one by one")
    return run + "".join(parts)


def of_precision(changes: Iterable[str]) -> bool:
    """Whether the precision is all that changes."""
    return [change.partition("=")[0] for change in changes] == ["runtime.precision"]


def read(folder: Path) -> dict[str, Request]:
    """The requests in a paper's folder, by name."""
    content = _load(folder / "params.yaml")
    return {
        name: Request(
            name,
            tuple(plans.seeds_of(entry["compose"].split())),
            entry.get("varies", ""),
            tuple(entry.get("changes", "").split()),
            kind == "older",
        )
        for kind in ("runs", "older")
        for name, entry in (content.get(kind) or {}).items()
    }


def represented(folder: Path) -> dict[str, dict[str, Any]]:
    """The representations that the requests need: name -> compose, recipe, data, split, golden."""
    return _load(folder / "params.yaml").get("represent") or {}


def representations(folder: Path) -> dict[str, str]:
    """For each requested run, by name, the representation that it goes on from."""
    content = _load(folder / "params.yaml")
    return {name: entry["of"] for kind in ("runs", "older") for name, entry in (content.get(kind) or {}).items()}


def write(folder: Path, requests: dict[str, Request], conf: Path) -> None:
    """Write the paper's params.yaml."""
    _dump(folder / "params.yaml", _content(folder, requests, conf))


def write_subsets(papers: Path, conf: Path) -> None:
    """Write the params.yaml of the data sets and subsets that the runs of all papers need."""
    datasets: dict[str, Any] = {}
    images: dict[str, Any] = {}  # the data sets that are read from image files; DVC watches a listing of them
    splits: dict[str, Any] = {}
    for path in published.files(papers):
        for entry in represented(path.parent).values():
            alone = [f"dataset={entry['data']}"]
            composed = compose(alone, conf)
            kind = images if composed["dataset"]["listing"] else datasets
            kind.setdefault(entry["data"], _entry(alone, composed, "datasets"))
            overrides = [part for part in entry["compose"].split() if not part.startswith("seeds=")]
            split = _entry(overrides, compose(overrides, conf), "splits") | {"data": entry["data"]}
            if splits.setdefault(entry["split"], split)["recipe"] != split["recipe"]:
                raise UserError(f"two runs name their subset {entry['split']}, which is another one in {path.parent}")
    _dump(papers / "params.yaml", {"datasets": datasets, "images": images, "splits": splits})


def write_metrics(folder: Path) -> None:
    """Write metrics/dvc.yaml, which lists the recorded runs, and no others, for `dvc metrics` and `dvc plots`."""
    names = [f"{name}/{file}" for name in read(folder) for file in METRICS]
    found = [name for name in names if (folder / "metrics" / name).is_file()]
    path = folder / "metrics/dvc.yaml"
    if found:
        write_text(path, METRICS_HEAD + yaml_files.dump({"metrics": found, "plots": _plots(folder)}))
    else:
        path.unlink(missing_ok=True)


def _plots(folder: Path) -> list[dict[str, Any]]:
    """PLOTS of each subset, one line per recorded run; `switching` Figure 3 is the first of them.

    No template of DVC draws one line per run and seed, so a run of several seeds has no line along the epochs.
    """
    content, requests = _load(folder / "params.yaml"), read(folder)
    subsets = {name: content["older" if request.older else "runs"][name]["split"] for name, request in requests.items()}
    result = []
    for subset in dict.fromkeys(subsets.values()):
        mine = [request for name, request in requests.items() if subsets[name] == subset]
        for title, file, (x, x_label), (y, y_label) in PLOTS:
            names = [f"{one.name}/{file}" for one in mine if x != "epoch" or len(one.seeds) == 1]
            found = [name for name in names if (folder / "metrics" / name).is_file()]
            plot: dict[str, Any] = {"template": "linear", "x": dict.fromkeys(found, x), "y": dict.fromkeys(found, y)}
            if found:
                plot |= {"x_label": x_label, "y_label": y_label}
                result.append({f"{folder.name}, {subset}: {title}": plot})
    return result


def enter(folder: Path, wanted: Iterable[Request], conf: Path) -> list[str]:
    """Add requests to a paper's. One that is there already stays as it is unless its seeds or its precision change.

    Returns the names of runs that were asked for in another precision before: what was trained for them and not
    recorded does not count any more. Raises UserError, with nothing entered, where a stage would refuse the parameters
    of one.
    """
    requests, replaced = read(folder), []
    for request in wanted:
        there = requests.get(request.name)
        same = there and (there.varies, there.changes) == (request.varies, request.changes)
        if there and not same and request.varies:
            raise UserError(
                f"{request.name} was asked for with {' '.join(there.changes)}, which is not {' '.join(request.changes)}"
            )
        if there and same and there.seeds == request.seeds:
            continue
        if there and not same:
            replaced.append(request.name)
        requests[request.name] = replace(request, older=False)
        Params(compose(overrides_of(folder, request), conf), Path(request.name))
    write(folder, requests, conf)
    write_subsets(folder.parent, conf)
    return replaced


def _content(folder: Path, requests: dict[str, Request], conf: Path) -> dict[str, Any]:
    plan = plans.read(folder)
    composed = {name: overrides_of(folder, request, plan) for name, request in requests.items()}
    order = {name: number for number, name in enumerate(plan)}
    requests = dict(sorted(requests.items(), key=lambda item: (order[item[1].varies or item[0]], item[0])))
    named: dict[str, str] = {}  # by the recipe of the representation, its name
    first: dict[str, list[str]] = {}  # by its name, what composes it
    members: dict[str, list[str]] = {}
    # The plan's own names first. A name must not depend on what else is asked for: recorded runs would train again.
    for name, request in sorted(requests.items(), key=lambda item: _is_named_anew(item[1])):
        key = plans.representation(compose(composed[name], conf))
        if _is_named_anew(request):
            of = named.setdefault(key, name)
            first.setdefault(of, composed[name])
        else:
            base = plan[request.varies or name]
            other = [change for change in request.changes if change not in base["compose"].split()]
            of = named.setdefault(key, variant_name(base["of"], other))
            first.setdefault(of, [*plan[base["of"]]["compose"].split(), *other])
        members.setdefault(of, []).append(name)
    represent: dict[str, Any] = {}
    entries: dict[str, dict[str, Any]] = {}
    for of, names in sorted(members.items(), key=lambda item: list(requests).index(item[1][0])):
        seeds = sorted({seed for name in names for seed in requests[name].seeds})
        overrides = plans.with_seeds(first[of], seeds)
        sections = compose(overrides, conf)
        data, split = sections["dataset"]["name"], _subset(plan, requests[names[0]], sections, conf)
        represent[of] = _entry(overrides, sections, "represent")
        represent[of] |= {"data": data, "split": split, "golden": sections["method"]}
        for name in names:
            request, sections = requests[name], compose(composed[name], conf)
            entry = _entry(composed[name], sections, "runs")
            entry |= {"data": data, "split": split, "golden": sections["method"], "of": of}
            if request.varies:
                entry |= {"varies": request.varies}
            if request.changes:
                entry |= {"changes": " ".join(request.changes)}
            entries[name] = entry
    runs, older = ({name: entries[name] for name in requests if requests[name].older == old} for old in (False, True))
    return {"paper": folder.name, "represent": represent, "runs": runs, "older": older}


def _is_named_anew(request: Request) -> bool:
    """Whether its representation, if it shares none, has its name: not the plan's, with at most a precision."""
    return bool(request.varies) and not of_precision(request.changes)


def overrides_of(folder: Path, request: Request, plan: dict[str, dict[str, Any]] | None = None) -> list[str]:
    """The overrides with which conf/ is composed for this request. plan: the paper's, if it was read already."""
    plan = plans.read(folder) if plan is None else plan
    base = request.varies or request.name
    if base not in plan:
        raise UserError(f"{folder / 'plan.yaml'} has no run '{base}'{suggest(base, plan)}")
    return plans.with_seeds([*plan[base]["compose"].split(), *request.changes], list(request.seeds))


def _entry(overrides: list[str], sections: dict[str, Any], kind: str) -> dict[str, Any]:
    return {"compose": " ".join(overrides), "recipe": cells.digest(sections, cells.SECTIONS[kind])}


def _subset(plan: dict[str, Any], request: Request, sections: dict[str, Any], conf: Path) -> str:
    """The name of a run's subset: the plan's, or a name of its own if a variant changes the subset."""
    planned = plan[request.varies or request.name]
    if not request.varies:
        return planned["split"]
    there = compose(planned["compose"].split(), conf)
    same = cells.digest(sections, cells.SPLIT) == cells.digest(there, cells.SPLIT)
    return planned["split"] if same else request.name


def _load(path: Path) -> dict[str, Any]:
    return (yaml_files.read(path) if path.is_file() else None) or {}


def _dump(path: Path, content: dict[str, Any]) -> None:
    write_text(path, HEAD + yaml_files.dump(content))
