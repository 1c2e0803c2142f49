"""The page's charts, as Vega-Lite.

Their colours are variables of the style sheet, so that one chart serves light and dark mode and print.
Each function returns a specification for a page to embed. page.js draws it, as wide as its place.
"""

from __future__ import annotations

from typing import Any

import altair as alt
import pandas as pd

from stages.longtail.evaluation.rounding import text

INK, MUTED, LINE = "var(--ink)", "var(--muted)", "var(--line)"
COLOURS = [f"var(--c{number})" for number in range(1, 9)]
HEIGHT = 260  # of a chart
STEP, DOUBLE = 24, 32  # of a line in it, with a name of one line or of two
NARROW = "containerSize()[0] < 600"  # a telephone
TICKS = alt.Axis(tickMinStep=1, format="d")
# Names beside a chart: on a telephone in two lines, what follows the first comma below.
NAMES = alt.Axis(
    labelLimit=alt.ExprRef(f"{NARROW} ? 160 : 280"),
    labelExpr=f"{NARROW} ? split(datum.label, ', ', 2) : datum.label",
    labelFontSize=alt.ExprRef(f"{NARROW} ? 10 : 12"),
    labelLineHeight=11,
)


def scoreboard(rows: pd.DataFrame, names: list[str]) -> dict[str, Any]:
    """A dumbbell for each run, from its last to its best test epoch, with the printed number.

    rows: see scoreboard_figure.rows; names: what stands beside each.
    """
    held = {"selected": "best held-out epoch"} if rows.selected.notna().any() else {}
    shown = {"last": "last epoch", "best": "best test epoch", **held, "value": "published"}
    frame = rows.assign(
        name=names, below=rows.value - rows.tolerance, above=rows.value + rows.tolerance, **_texts(rows, *shown)
    )
    tooltip = [
        alt.Tooltip("name:N", title="run"),
        *(alt.Tooltip(f"{column}_text:N", title=title) for column, title in shown.items()),
    ]
    base = alt.Chart(_data(frame)).encode(y=alt.Y("name:N", title=None, sort=None, axis=NAMES), tooltip=tooltip)
    accuracy = alt.Scale(zero=False, nice=True)
    key = alt.Scale(
        domain=["last epoch", "best test epoch", "published"], range=[COLOURS[0], "transparent", COLOURS[1]]
    )

    kind = alt.Fill("kind:N", scale=key, title=None, legend=alt.Legend(columns=alt.ExprRef(f"{NARROW} ? 1 : 3")))

    def at(field: str) -> alt.X:
        return alt.X(f"{field}:Q", scale=accuracy, title="top-1 accuracy, percent", axis=TICKS)

    def ends(first: str, second: str) -> dict[str, Any]:
        return {"x": at(first), "x2": f"{second}:Q"}

    def point(field: str, name: str, **mark: Any) -> alt.Chart:
        return base.mark_point(stroke=COLOURS[0], strokeWidth=1.5, **mark).encode(
            x=at(field), fill=kind
        ).transform_calculate(kind=f"'{name}'")  # fmt: skip

    layers = [
        base.mark_rule(stroke=LINE, strokeWidth=12).encode(**ends("below", "above")),
        base.mark_rule(stroke=COLOURS[0], strokeWidth=5, opacity=0.35)
        .encode(**ends("low", "high"))
        .transform_filter(_known("low")),
        base.mark_rule(stroke=MUTED).encode(**ends("last", "best")),
        point("best", "best test epoch", size=70),
        point("last", "last epoch", size=70),
        base.mark_point(shape="diamond", size=70, stroke="none")
        .encode(x=at("value"), fill=kind)
        .transform_calculate(kind="'published'"),
    ]
    return _spec(alt.layer(*layers), height=DOUBLE * len(rows), description="Last epoch, best test epoch and published")


def accuracy_by_epoch(history: pd.DataFrame) -> dict[str, Any]:
    """Test accuracy of each group and training accuracy, by epoch. history: history.csv, with its values as text."""
    shown = {
        "test_all": "all",
        "test_many": "many",
        "test_medium": "medium",
        "test_few": "few",
        "train_acc": "training",
    }
    held = {"held_all": "held out"} if "held_all" in history else {}
    frame = history.rename(columns=shown | held)[["seed", "epoch", *shown.values(), *held.values()]]
    names = [name for name in [*shown.values(), *held.values()] if (frame[name] != "").any()]
    return _by_epoch(frame[["seed", "epoch", *names]], names, history, "accuracy, percent", alt.Scale(zero=False))


def loss_by_epoch(history: pd.DataFrame) -> dict[str, Any]:
    """Training loss by epoch, on a logarithmic scale unless it is 0 somewhere."""
    positive = bool((pd.to_numeric(history.loss) > 0).all())
    scale = alt.Scale(type="log", nice=False) if positive else alt.Scale(zero=False)
    return _by_epoch(history[["seed", "epoch", "loss"]], ["loss"], history, "training loss", scale)


def _by_epoch(
    frame: pd.DataFrame, names: list[Any], history: pd.DataFrame, title: str, scale: alt.Scale
) -> dict[str, Any]:
    """A line for each name and seed, with the values at the pointer.

    A dashed line stands where a new part of the training begins.
    """
    epoch = alt.X("epoch:Q", title="epoch", scale=alt.Scale(nice=False))
    colour: Any = alt.Color("what:N", scale=alt.Scale(domain=names, range=COLOURS), title=None)
    if len(names) == 1:
        colour = alt.value(COLOURS[0])
    lines = (
        alt.Chart()
        .transform_fold(names, as_=["what", "value"])
        .transform_filter(_known("value"))
        .mark_line(strokeWidth=1.5)
        .encode(x=epoch, y=alt.Y("value:Q", title=title, scale=scale), color=colour, detail="seed:N")
    )
    near = alt.selection_point(fields=["epoch"], nearest=True, on="pointerover", clear="pointerout", empty=False)
    pointer = (
        alt.Chart()
        .mark_rule(stroke=MUTED)
        .encode(
            x=epoch,
            opacity=alt.condition(near, alt.value(1), alt.value(0)),
            tooltip=[alt.Tooltip("epoch:Q"), *(alt.Tooltip(f"{name}:Q") for name in names)],
        )
        .add_params(near)
    )
    layers = [lines, pointer]
    starts = history.drop_duplicates("part")[["epoch", "part"]].iloc[1:]
    if len(starts):
        base = alt.Chart(_data(starts)).encode(x="epoch:Q")
        layers += [
            base.mark_rule(stroke=MUTED, strokeDash=[4, 4]),
            base.mark_text(align="right", dx=-4, y=HEIGHT - 8, fill=MUTED).encode(text="part:N"),
        ]
    return _spec(alt.layer(*layers, data=_data(frame)), description=f"{title} by epoch")


def accuracy_by_class(rows: pd.DataFrame) -> dict[str, Any]:
    """A bar for each class, with its interval if it is known.

    rows: columns rank, name, count, accuracy, low and high (percent).
    """
    named = len(rows) <= 25
    x = alt.X("name:N", sort=None, title=None) if named else alt.X("rank:O", title="class", axis=None)
    base = alt.Chart(_data(rows.assign(**_texts(rows, "accuracy")))).encode(
        x=x,
        tooltip=[
            alt.Tooltip("name:N", title="class"),
            alt.Tooltip("count:Q", title="training images"),
            alt.Tooltip("accuracy_text:N", title="accuracy"),
        ],
    )
    layers = [base.mark_bar(fill=COLOURS[0], opacity=0.75).encode(y=alt.Y("accuracy:Q", title="accuracy, percent"))]
    if rows.low.notna().any():
        layers.append(base.mark_rule(stroke=INK, strokeWidth=1.5).encode(y=alt.Y("low:Q"), y2="high:Q"))
    return _spec(alt.layer(*layers), description="Accuracy by class, the one with most training images first")


def accuracy_by_rank(rows: pd.DataFrame) -> dict[str, Any]:
    """A line for each method.

    rows: columns method, rank, name, count, accuracy. The methods are in the order of their colours.
    """
    methods = list(rows.method.unique())
    chosen = alt.selection_point(fields=["method"], bind="legend")
    rank = alt.X(
        "rank:Q", title="class, the one with most training images first", scale=alt.Scale(nice=False), axis=TICKS
    )
    base = alt.Chart(_data(rows.assign(**_texts(rows, "accuracy")))).encode(
        x=rank,
        y=alt.Y("accuracy:Q", title="accuracy, percent", scale=alt.Scale(zero=False)),
        color=alt.Color(
            "method:N",
            scale=alt.Scale(domain=methods, range=COLOURS),
            title=None,
            legend=alt.Legend(columns=alt.ExprRef(f"{NARROW} ? 1 : 4"), labelLimit=280),
        ),
        opacity=alt.condition(chosen, alt.value(1), alt.value(0.12)),
        tooltip=[
            "method:N",
            alt.Tooltip("name:N", title="class"),
            alt.Tooltip("count:Q", title="training images"),
            alt.Tooltip("accuracy_text:N", title="accuracy"),
        ],
    )
    many = rows["rank"].max() > 30
    lines = base.mark_line(strokeWidth=1.5).add_params(chosen)
    layers = alt.layer(lines) if many else alt.layer(lines, base.mark_point(filled=True, size=35))
    return _spec(layers, height=340, description="Accuracy by the class's rank, one line per method")


def methods(rows: pd.DataFrame) -> dict[str, Any]:
    """A dot with its interval for each method. rows: columns method, accuracy, low, high; the best method first."""
    names = ("accuracy", "low", "high")
    base = alt.Chart(_data(rows.assign(**_texts(rows, *names)))).encode(
        y=alt.Y("method:N", sort=None, title=None, axis=NAMES),
        tooltip=["method:N", *(alt.Tooltip(f"{name}_text:N", title=name) for name in names)],
    )
    scale = alt.Scale(zero=False)
    layers = [
        base.mark_rule(stroke=COLOURS[0], strokeWidth=5, opacity=0.35).encode(
            x=alt.X("low:Q", scale=scale, title="top-1 accuracy, percent", axis=TICKS), x2="high:Q"
        ),
        base.mark_point(filled=True, fill=COLOURS[0], size=60).encode(x=alt.X("accuracy:Q", scale=scale)),
    ]
    return _spec(alt.layer(*layers), height=STEP * len(rows), description="Accuracy of each method with its interval")


def _texts(rows: pd.DataFrame, *names: str) -> dict[str, list[str]]:
    """Columns NAME_text for tooltips, rounded as in tables. (The formats of Vega-Lite would round 76.85 to 76.8.)"""
    return {f"{name}_text": ["" if pd.isna(value) else text(value, 1) for value in rows[name]] for name in names}


def _known(field: str) -> str:
    """A filter that leaves out empty values of a csv, which would be drawn as 0."""
    return f"isValid(datum.{field}) && datum.{field} !== ''"


def _data(frame: pd.DataFrame) -> alt.InlineData:
    """The data as csv, which needs a third of the room of a list of objects."""
    return alt.InlineData(frame.to_csv(index=False, lineterminator="\n"), format=alt.CsvDataFormat(type="csv"))


def _spec(chart: alt.LayerChart | alt.FacetChart, description: str, height: Any = HEIGHT) -> dict[str, Any]:
    fit = alt.AutoSizeParams(type="fit-x", contains="padding")
    spec = chart.properties(width="container", height=height, autosize=fit, description=description).to_dict()
    del spec["$schema"]  # an address of another site, which is not needed: page.js says that this is Vega-Lite
    return spec
