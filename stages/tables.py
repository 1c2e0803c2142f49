"""Write the table of the current experiment beside the published number, or those of the papers.

Reads   all sections of the parameters; CONF/, to see where they leave the presets
        REPORTS/metrics.json, metrics_more.json, per_class.csv, history.csv and predictions.npz, and
        REPORTS/papers/*/published.csv: only what is in git
Writes  REPORTS/table.md and its figure, REPORTS/curves.svg
With --papers, or --paper NAME for one, it reads plan.yaml, about.md and metrics/ in REPORTS/papers/<paper>/, and writes
        table<N>.md, .tex and .csv and README.md there; REPORTS/papers/README.md, its figure and BOARD.md
With --missing it writes no file. It lists the runs without results, of one paper or all, cheapest gain first. With
--check [REV] it exits with 1 if a cell that was within its tolerance at the git revision REV (HEAD) no longer is.
"""

from __future__ import annotations

from stages.longtail.configuration import command_line
from stages.longtail.evaluation import outputs
from stages.longtail.files.artifacts import read_csv, read_json, write_text
from stages.longtail.papers import current_report, current_table, preset, published, tables_command
from stages.longtail.papers.experiment_params import Experiment


def main() -> None:
    args = command_line.parse(__doc__, tables_command.add_options, reports="reports", conf="conf")
    if tables_command.chosen(args):
        tables_command.main(args)
        return
    params = Experiment.read(args.params)
    classes = read_csv(args.reports / "per_class.csv").astype({"count": int})
    changed = preset.deviations(params, args.conf)
    where, numbers = published.cell(params, args.reports / "papers", args.conf)
    metrics, more = (read_json(args.reports / name) for name in ("metrics.json", "metrics_more.json"))
    table = current_table.table(params, metrics, more, classes, where, numbers, changed)
    predicted, labels = outputs.read_predictions(args.reports / "predictions.npz")
    rest = current_report.sections(params.method, classes, predicted, labels)
    write_text(args.reports / "table.md", f"{table}\n{rest}")
    write_text(args.reports / current_report.FIGURE, current_report.curves(read_csv(args.reports / "history.csv")))


if __name__ == "__main__":
    command_line.run(main)
