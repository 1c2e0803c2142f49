"""Write the table of the current experiment beside the published number.

Reads   all sections of the parameters; CONF/, to see where they leave the presets
        REPORTS/metrics.json, REPORTS/per_class.csv, PUBLISHED/<protocol>.csv: only what is in git
Writes  REPORTS/table.md
"""

from __future__ import annotations

from stages.longtail import cli
from stages.longtail.artifacts import read_csv, read_json, write_text
from stages.longtail.report import experiment, preset, published


def main() -> None:
    args = cli.parse(__doc__, reports="reports", published="data/published", conf="conf")
    params = args.params
    classes = read_csv(args.reports / "per_class.csv").astype({"count": int})
    changed = preset.deviations(params, args.conf)
    where, numbers = published.cell(params, args.published, args.conf)
    metrics = read_json(args.reports / "metrics.json")
    write_text(args.reports / "table.md", experiment.table(params, metrics, classes, where, numbers, changed))


if __name__ == "__main__":
    cli.run(main)
