"""Write the results page: static HTML that needs no server and loads nothing from elsewhere.

Reads   CONF/, REPORTS/papers/: only what is in git, neither data nor networks
Writes  OUT/index.html and what it links to
"""

from __future__ import annotations

import argparse
from pathlib import Path

from stages.longtail.console import errors
from stages.longtail.site import build


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for folder, default in (("out", "site"), ("reports", "reports"), ("conf", "conf")):
        parser.add_argument(f"--{folder}", type=Path, default=Path(default), help=f"folder ({default})")
    args = parser.parse_args()
    pages, size = build.build(args.out, args.reports, args.conf)
    print(f"{args.out / 'index.html'}: {pages} pages, {size / 1e6:.1f} MB")


if __name__ == "__main__":
    errors.run(main)
