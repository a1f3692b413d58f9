"""The report's plots as inline SVG whose colours are CSS variables, so that they follow the page's light or dark."""

from __future__ import annotations

import io
import re
from typing import Any, get_args

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter, ScalarFormatter

from entityclip.schemas import SLICES, EvalReport, IndexKind, Metric

INDEX_KINDS: tuple[IndexKind, ...] = get_args(IndexKind)
SLICE_TITLES = {
    "frequent": "10 or more pictures",
    "few": "2 to 9 pictures",
    "one": "1 picture",
    "none": "never photographed",
    "all": "all together",
}
"""Titles of the slices: the number of training pictures of their entities."""

# matplotlib needs real colours: these placeholders become CSS variables in the SVG.
COLOURS = {
    "ink": "#a00001",
    "faint": "#a00002",
    "caption": "#a00003",
    "explanation": "#a00004",
    "mixed": "#a00005",
    "images": "#a00006",
    "series-5": "#a00007",
}
_TERM_COLOURS = ("caption", "explanation", "mixed", "images", "series-5")
STYLE: dict[Any, Any] = {
    "text.parse_math": False,
    "svg.fonttype": "none",
    "font.size": 9,
    "font.family": "DejaVu Sans",
    "text.color": COLOURS["ink"],
    "axes.labelcolor": COLOURS["ink"],
    "axes.edgecolor": COLOURS["faint"],
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 9,
    "xtick.color": COLOURS["ink"],
    "ytick.color": COLOURS["ink"],
    "grid.color": COLOURS["faint"],
    "grid.linewidth": 0.6,
    "legend.frameon": False,
}
_MARKERS = {"caption": "s", "explanation": "^", "images": "D", "mixed": "o"}
_POINTS = 150
"""Longer curves are averaged down to this many points, to keep the page small."""


def recall_by_slice(evaluation: EvalReport, *, metric: str = "R@1") -> str | None:
    """Dots with 95 % intervals: slices downwards, recall in percent to the right; None when nothing was measured."""
    slices = [s for s in (*SLICES, "all") if any(m.slice == s for m in _of_index(evaluation, metric))]
    if not slices:
        return None
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(7.6, 0.62 * len(slices) + 0.9), layout="constrained")
        axes = figure.subplots()
        for offset, index in zip((-0.27, -0.09, 0.09, 0.27), INDEX_KINDS, strict=True):
            _interval_dots(axes, evaluation, slices=slices, index=index, metric=metric, offset=offset)
        axes.set_yticks(range(len(slices)), [SLICE_TITLES[s] for s in slices])
        axes.set(xlim=(-1, 101), ylim=(len(slices) - 0.5, -0.5), xlabel=f"{metric}, percent")
        axes.tick_params(length=0)
        axes.grid(axis="x", alpha=0.5)
        figure.legend(loc="outside upper left", ncols=4, handletextpad=0.4)
        return as_svg(figure, name="recall")


def _of_index(evaluation: EvalReport, metric: str) -> list[Metric]:
    return [
        m for m in evaluation.metrics if m.name == metric and m.direction == "image_to_text" and m.index in INDEX_KINDS
    ]


def _interval_dots(
    axes: Axes, evaluation: EvalReport, *, slices: list[str], index: str, metric: str, offset: float
) -> None:
    found = [m for m in _of_index(evaluation, metric) if m.index == index and m.slice in slices]
    if not found:
        return
    y = [slices.index(m.slice) + offset for m in found]
    axes.hlines(y, [m.low for m in found], [m.high for m in found], color=COLOURS[index], linewidth=2.2, alpha=0.55)
    values = [m.value for m in found]
    axes.scatter(values, y, color=COLOURS[index], marker=_MARKERS[index], s=30, label=f"{index} index", zorder=3)


def found_within(queries: pd.DataFrame) -> str | None:
    """Share of pictures whose entity stands among the first k, a panel per slice; None without entity queries.

    Args:
        queries: one row per query with ``index``, ``slice`` and ``rank`` (1 is best).
    """
    queries = queries[queries["index"].isin(INDEX_KINDS)]
    slices = [s for s in SLICES if (queries["slice"] == s).any()]
    if not slices:
        return None
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(7.6, 2.5), layout="constrained")
        panels = figure.subplots(1, len(slices), sharex=True, sharey=True, squeeze=False)[0]
        largest = max(10, int(queries["rank"].max()))
        for axes, name in zip(panels, slices, strict=True):
            _rank_panel(axes, queries[queries["slice"] == name], largest=largest)
            axes.set_title(SLICE_TITLES[name], loc="left")
        panels[0].set(ylabel="found, percent", ylim=(-2, 102))
        figure.supxlabel("among the first k entities", fontsize=9)
        figure.legend(*panels[-1].get_legend_handles_labels(), loc="outside upper left", ncols=4, handletextpad=0.6)
        return as_svg(figure, name="ranks")


def _rank_panel(axes: Axes, queries: pd.DataFrame, *, largest: int) -> None:
    k = np.unique(np.geomspace(1, largest, 60).round())
    for index in INDEX_KINDS:
        ranks = np.sort(queries.loc[queries["index"] == index, "rank"].to_numpy())
        if len(ranks):
            share = 100 * np.searchsorted(ranks, k, side="right") / len(ranks)
            axes.plot(k, share, color=COLOURS[index], linewidth=1.8, label=f"{index} index")
    axes.set_xscale("log")
    axes.set_xticks([t for t in (1, 10, 100, 1000, 10_000) if t <= largest])
    axes.xaxis.set_major_formatter(ScalarFormatter())
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.grid(alpha=0.35)


def distributions(reference: pd.DataFrame, current: pd.DataFrame) -> str | None:
    """How often each value comes, a panel per column, in the data and in the service; None without rows.

    Args:
        reference: A column per figure, of the data.
        current: The same columns, of the service.
    """
    if reference.empty or current.empty:
        return None
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(7.6, 2.1), layout="constrained")
        panels = figure.subplots(1, len(reference.columns), squeeze=False)[0]
        for axes, name in zip(panels, reference.columns, strict=True):
            edges = np.histogram_bin_edges(pd.concat([reference[name], current[name]]), bins=24)
            for values, colour, label in ((reference, "caption", "data"), (current, "explanation", "service")):
                weights = np.full(len(values), 100 / len(values))
                axes.hist(values[name], edges, weights=weights, histtype="step", color=COLOURS[colour], label=label)
            axes.set_title(name, loc="left")
            axes.set_yticks([])
        figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper left", ncols=2)
        return as_svg(figure, name="distributions")


def dots_by_slice(figures: pd.DataFrame, *, rows: str, unit: str, baseline: float | None = None) -> str | None:
    """Dots with intervals: a panel per slice, a line per value of the column ``rows``, in its order; None without any.

    Args:
        figures: ``slice``, ``value``, ``low``, ``high`` and the column that ``rows`` names.
        rows: The column whose values stand downwards.
        unit: Of the figures, for the axis.
        baseline: Where a faint line is drawn.
    """
    slices = [s for s in (*SLICES, "all") if (figures["slice"] == s).any()]
    names = list(dict.fromkeys(figures[rows]))
    if not slices:
        return None
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(7.6, 0.26 * len(names) + 1.1), layout="constrained")
        panels = figure.subplots(1, len(slices), sharey=True, squeeze=False)[0]
        for axes, name in zip(panels, slices, strict=True):
            part = figures[figures["slice"] == name]
            y = [names.index(row) for row in part[rows]]
            axes.hlines(y, part["low"], part["high"], color=COLOURS["explanation"], linewidth=2.2, alpha=0.55)
            axes.scatter(part["value"], y, color=COLOURS["explanation"], s=22, zorder=3)
            if baseline is not None:
                axes.axvline(baseline, color=COLOURS["faint"], linewidth=1)
            axes.set_title(SLICE_TITLES[name], loc="left")
            axes.tick_params(length=0)
            axes.grid(axis="x", alpha=0.5)
        panels[0].set(yticks=range(len(names)), yticklabels=names, ylim=(len(names) - 0.5, -0.5))
        figure.supxlabel(unit, fontsize=9)
        return as_svg(figure, name=f"dots-{rows}")


def coverage_curve(queries: pd.DataFrame, evaluation: EvalReport) -> str | None:
    """Share of known pictures tagged rightly against share of unknown ones tagged at all, at every threshold.

    Dots are the targets of the card, whose thresholds differ by group. None where no picture was tagged.

    Args:
        queries: The evaluator's rows.
        evaluation: The report that belongs to them.
    """
    if "unknown_confidence" not in queries:
        return None
    tagged = queries[(queries["index"] == "mixed") & queries["confidence"].notna()]
    if tagged.empty:
        return None
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(7.6, 3.0), layout="constrained")
        axes = figure.subplots()
        right = (tagged["rank"] == 1).to_numpy()
        for column, label, colour in (
            ("confidence", "confidence", "faint"),
            ("open_set", "open-set rule", "mixed"),
        ):
            if tagged[column].notna().all():
                x, y = _coverage(tagged[column], tagged[f"unknown_{column}"], right)
                axes.plot(x, y, color=COLOURS[colour], linewidth=1.8, label=label)
        for metric in evaluation.open_set:
            name, _, target = metric.name.partition("_at_")
            covered = evaluation.open_set_value(f"coverage_at_{target}")
            if metric.slice == "all" and name == "false_accept" and covered:
                axes.scatter(metric.value, covered, color=COLOURS["explanation"], s=30, zorder=3)
                axes.annotate(f"target {target}", (metric.value, covered), xytext=(6, -10), textcoords="offset points")
        axes.set(xlim=(-1, 101), ylim=(-1, 101))
        axes.set(xlabel="unknown pictures with a sure tag, percent", ylabel="known pictures, sure and right")
        axes.grid(alpha=0.35)
        figure.legend(loc="outside upper left", ncols=2, handletextpad=0.6)
        return as_svg(figure, name="coverage")


def _coverage(known: pd.Series, unknown: pd.Series, right: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Share of unknown pictures accepted, and of known ones accepted and right, in percent, at falling thresholds."""
    least = np.quantile(np.concatenate([known, unknown]), np.linspace(1, 0, 200))
    correct, others = np.sort(known[right]), np.sort(unknown)
    accepted = (len(others) - np.searchsorted(others, least)) / len(others)
    return 100 * accepted, 100 * (len(correct) - np.searchsorted(correct, least)) / len(known)


def loss_curve(losses: pd.DataFrame) -> str | None:
    """The training loss and, beside it, its terms; None when there are no rows.

    Args:
        losses: ``epoch`` or ``step``, ``loss``, and a column per term; a cell that was not logged is NaN.
    """
    x = "epoch" if "epoch" in losses else "step"
    terms = [c for c in losses.columns if c not in ("epoch", "step", "loss")][: len(_TERM_COLOURS)]
    if losses.empty:
        return None
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(7.6, 2.6), layout="constrained")
        panels = figure.subplots(1, 2 if terms else 1, squeeze=False)[0]
        _curve(panels[0], losses[x], losses["loss"], colour="ink")
        panels[0].set_title("loss", loc="left")
        for term, colour in zip(terms, _TERM_COLOURS, strict=False):
            _curve(panels[1], losses[x], losses[term], colour=colour)
        if terms:
            panels[1].set_title("its terms, before their weights", loc="left")
            panels[1].legend(fontsize=8, handlelength=1.2)
        for axes in panels:
            axes.set(xlabel=x)
            axes.grid(alpha=0.35)
        return as_svg(figure, name="loss")


def _curve(axes: Axes, x: pd.Series, y: pd.Series, *, colour: str) -> None:
    points = pd.DataFrame({"x": x, "y": y}).apply(pd.to_numeric, errors="coerce")
    points = points[np.isfinite(points).all(axis=1)]
    group = np.arange(len(points)) * _POINTS // max(_POINTS, len(points))
    points = points.groupby(group).mean()
    axes.plot(points["x"], points["y"], color=COLOURS[colour], linewidth=1.6, label=str(y.name))


def as_svg(figure: Figure, *, name: str) -> str:
    """The figure as an ``<svg>`` element; the same figure always gives the same text."""
    buffer = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": name}):
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    # Several plots share one page: unused ids would be duplicates there.
    text = re.sub(r'<g id="[^"]*"', "<g", text)
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    for variable, colour in COLOURS.items():
        text = text.replace(colour, f"var(--{variable})")
    return text
