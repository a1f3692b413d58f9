"""Plot of the trials of a search."""

from __future__ import annotations

import io
from typing import Any

import matplotlib
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "trials",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
}
_SEARCHED = (
    "image_experts",
    "shared_experts",
    "text_experts",
    "beta",
    "eta",
    "explanation",
    "min_quality",
)
_TICKS = {"beta": (0.01, 0.1, 1.0), "eta": (0.01, 0.1, 1.0), "explanation": (0.25, 1.0, 4.0)}
"""Ticks of the settings with a logarithmic axis."""


def plot_trials(trials: pd.DataFrame) -> str:
    """SVG: the score of every trial in order, then against each searched setting.

    Args:
        trials: ``number``, ``state``, ``score`` (NaN where a trial failed) and a column for each searched value.
    """
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(9, 4.6), layout="constrained")
        panels = figure.subplots(2, 4, sharey=True).ravel()
        _scatter(panels[0], trials, "number")
        panels[0].set_xlabel("trial")
        whole = trials[trials["state"] == "complete"]
        panels[0].step(whole["number"], whole["score"].cummax(), where="post", color="0.5", linewidth=1)
        panels[0].set_title("best so far", loc="left")
        for axes, name in zip(panels[1:], _SEARCHED, strict=True):
            _scatter(axes, trials, name)
            if name in _TICKS:
                axes.set_xscale("log")
                axes.set_xlim(0.8 * _TICKS[name][0], 1.25 * _TICKS[name][-1])
                axes.set_xticks(_TICKS[name], [f"{tick:g}" for tick in _TICKS[name]])
                axes.xaxis.set_minor_formatter(NullFormatter())
        for axes in panels[::4]:
            axes.set_ylabel("validation R@1, %")
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
        return buffer.getvalue()


def _scatter(axes: Axes, trials: pd.DataFrame, name: str) -> None:
    """Trials trained whole are filled, pruned ones hollow."""
    for state, face in (("complete", "#2563a8"), ("pruned", "none")):
        part = trials[trials["state"] == state]
        axes.scatter(part[name], part["score"], s=18, facecolors=face, edgecolors="#2563a8", linewidths=0.8)
    axes.set_xlabel(name.replace("_", " "))
    axes.grid(alpha=0.3)
