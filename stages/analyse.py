"""Draw the figures of a paper's own analyses from what its runs left, each as a csv and an svg.

python -m stages.analyse PAPER [RUN...]

Reads   REPORTS/papers/<paper>/params.yaml and metrics/ of the runs that are in git; for figures of networks also their
        checkpoints and the images, where they are on this machine
Writes  REPORTS/papers/<paper>/analyses/<figure>-<subset>.csv and .svg, README.md
RUN is a run of the paper, such as cifar10-exp-100-joint, or of another, such as procrustean/cifar10-exp-100-joint;
without any, all runs of the paper with results. With --experiment it draws the current experiment of the main pipeline
into REPORTS/analyses/<paper>/ instead. Rows of other runs that a csv already has stay in it. A text
<figure>-<subset>.md beside a csv, written by hand, is shown below its figure.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

from stages.longtail.analyses import analysis, balance, decoupling, end_to_end, procrustean, runs, switching
from stages.longtail.configuration import parameters
from stages.longtail.console import errors
from stages.longtail.console.errors import UserError
from stages.longtail.papers.experiment_params import Experiment

PAPERS = {
    "balance": balance.ANALYSES,
    "decoupling": decoupling.ANALYSES,
    "end_to_end": end_to_end.ANALYSES,
    "procrustean": procrustean.ANALYSES,
    "switching": switching.ANALYSES,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("paper", choices=PAPERS)
    parser.add_argument("runs", nargs="*", metavar="RUN")
    parser.add_argument("--experiment", action="store_true", help="the current experiment instead of a paper's runs")
    parser.add_argument("--params", type=Path, default=Path("params.yaml"), help="of the experiment (params.yaml)")
    parser.add_argument("--reports", type=Path, default=Path("reports"), help="folder (reports)")
    parser.add_argument("--data", type=Path, default=Path("data"), help="folder of the experiment's networks (data)")
    parser.add_argument("--name", help="of the experiment in its figures (its data set, split and method)")
    parser.add_argument("--only", nargs="+", metavar="FIGURE", help="these alone, such as figure2_loss (all)")
    parser.add_argument("--out", type=Path, help="folder of the figures (as above)")
    args = parser.parse_args()
    analyses = [one for one in PAPERS[args.paper] if not args.only or one.stem in args.only]
    stems = [one.stem for one in PAPERS[args.paper]]
    for unknown in set(args.only or ()) - set(stems):
        raise UserError(f"{args.paper} has no figure '{unknown}': it has {', '.join(stems)}")
    if args.name and not args.experiment:
        raise UserError("--name is for --experiment: recorded runs keep their names")
    if args.experiment and args.runs:
        raise UserError("--experiment draws the current experiment alone: name no runs with it")
    if args.experiment:
        params = Experiment.read(parameters.load(args.params))
        found = runs.experiment(params, args.reports, args.data)
        chosen = [replace(found, name=args.name or found.name)]
        folder = args.reports / "analyses" / args.paper
    else:
        chosen = runs.recorded(args.paper, args.reports / "papers", args.runs)
        folder = args.reports / "papers" / args.paper / "analyses"
    if not chosen:
        raise UserError(f"{args.paper} has no recorded run: run one, or name one of another paper, as in PAPER/RUN")
    folder = args.out or folder
    for line in analysis.write(analyses, chosen, folder):
        print(f"left out of the figures that need it: {line}")
    analysis.write_page(args.paper, PAPERS[args.paper], folder)
    print(f"{folder}: {', '.join(sorted(path.name for path in folder.glob('*.svg')))}")


if __name__ == "__main__":
    errors.run(main)
