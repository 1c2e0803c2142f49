"""Compare two results on the same test images: is B better than A, where, and how sure is that?

    python -m stages.compare HEAD workspace
    python -m stages.compare procrustean/cifar10-exp-100-joint procrustean/cifar10-exp-100-tau_norm

Reads   predictions.npz and per_class.csv of both: no data, no cache, no GPU
Writes  FIGURE, an svg; the text goes to the screen
A and B are each: workspace, the current experiment; a folder with these two files; a run of a paper; an experiment by
name (dvc exp list) or any git revision.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from stages.longtail.comparison import compare, figure, results
from stages.longtail.console import errors


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("a", metavar="A")
    parser.add_argument("b", metavar="B")
    parser.add_argument("--reports", type=Path, default=Path("reports"), help="folder (reports)")
    parser.add_argument("--figure", type=Path, default=Path("dvc_plots/compare.svg"), help="(dvc_plots/compare.svg)")
    args = parser.parse_args()
    found = compare.compare(*(results.find(name, args.reports) for name in (args.a, args.b)))
    figure.write(args.figure, found)
    print(compare.markdown(found), end="")
    print(f"\nFigure: {args.figure}")


if __name__ == "__main__":
    errors.run(main)
