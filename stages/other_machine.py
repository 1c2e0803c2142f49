"""Run a paper's runs on a machine without DVC and Hydra, and record what comes back.

    python -m stages.launch switching RUN ... --only-enter
    python -m stages.other_machine send FOLDER --paper switching [RUN ...]
    bash FOLDER/run.sh        # on the other machine, in the repository's root; then bring FOLDER back
    python -m stages.other_machine take FOLDER

`take` copies metrics, accuracies by class and histories to their places, and writes the checksums of the large files on
the other machine into dvc.lock. If a result has another recipe than its run here, `take` says so and changes nothing.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from stages.longtail.configuration import cells
from stages.longtail.console import errors
from stages.longtail.console.errors import UserError
from stages.longtail.papers import other_machine


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("send", "pack", "take"), help="pack is what run.sh calls after each job")
    parser.add_argument("folder", type=Path, help="where parameters and results travel")
    parser.add_argument("runs", nargs="*", help="that were asked for (all that have no results); of pack: jobs")
    parser.add_argument("--paper", default="", help="such as switching")
    parser.add_argument("--papers", type=Path, default=cells.PAPERS, help=f"folder ({cells.PAPERS})")
    parser.add_argument("--conf", type=Path, default=Path("conf"), help="folder (conf)")
    args = parser.parse_intermixed_args()
    if args.what == "send":
        if not args.paper:
            raise UserError("send takes the runs of one paper: say which, such as --paper switching")
        names = other_machine.send(args.folder, args.paper, args.runs, args.papers, args.conf)
        print(f"{args.folder}: {', '.join(names)}")
    elif args.what == "pack":
        other_machine.pack(args.folder, args.runs)
    else:
        print("\n".join(other_machine.take(args.folder, args.papers, args.conf)) or "nothing new")


if __name__ == "__main__":
    errors.run(main)
