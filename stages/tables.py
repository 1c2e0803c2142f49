"""Write the table of the current experiment beside the published number.

Reads   all sections of the parameters; CONF/, to see where they leave the presets
        REPORTS/metrics.json, SPLITS/classes.csv, PUBLISHED/<protocol>.csv
Writes  REPORTS/table.md
"""

from __future__ import annotations

from stages.longtail import cli
from stages.longtail.artifacts import read_json, write_text
from stages.longtail.data import split
from stages.longtail.report import experiment, preset, published


def main() -> None:
    args = cli.parse(__doc__, reports="reports", splits="data/splits", published="data/published", conf="conf")
    params = args.params
    classes = split.read_classes(args.splits)
    where, numbers = published.cell(params, args.published)
    changed = preset.deviations(params, args.conf)
    metrics = read_json(args.reports / "metrics.json")
    write_text(args.reports / "table.md", experiment.table(params, metrics, classes, where, numbers, changed))


if __name__ == "__main__":
    cli.run(main)
