"""The two plots of the value report, as inline SVG in the colours of the page."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import matplotlib
from matplotlib.figure import Figure
from matplotlib.font_manager import get_font_names
from matplotlib.ticker import FuncFormatter

from entityclip.reports.plots import COLOURS, STYLE, as_svg
from entityclip.reports.value.figures import TracedFigure
from entityclip.reports.value.findings import Findings
from entityclip.reports.value.words import say
from entityclip.reports.words import Language

_JAPANESE_FONTS = ("Noto Sans CJK JP", "Noto Sans JP", "IPAexGothic", "Hiragino Sans", "Yu Gothic", "Meiryo")


@contextmanager
def _style() -> Iterator[None]:
    """The style of all plots, with a Japanese font to measure texts by, where there is one."""
    known = set(get_font_names())
    families = ["DejaVu Sans", *(name for name in _JAPANESE_FONTS if name in known)]
    with matplotlib.rc_context(STYLE | {"font.family": families}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from")  # the page's own font has it
        yield


def tradeoff(findings: Findings, language: Language) -> str | None:
    """Dots with ranges: share of automatic tags to the right, how many are right upwards; None without any."""
    figures = findings.figures
    shown = [target for target in findings.targets if figures[f"right_tags_at_{target}"].value is not None]
    if not shown:
        return None
    with _style():
        figure = Figure(figsize=(3.6, 2.5), layout="constrained")
        axes = figure.subplots()
        for target in shown:
            x, y = figures[f"automatic_at_{target}"], figures[f"right_tags_at_{target}"]
            if x.value is None or y.value is None:
                continue
            chosen = target == findings.criteria.decision.target_precision
            colour = COLOURS["explanation" if chosen else "mixed"]
            axes.plot(_ends(x), [y.value] * 2, color=colour, linewidth=2, alpha=0.5)
            axes.plot([x.value] * 2, _ends(y), color=colour, linewidth=2, alpha=0.5)
            axes.scatter(x.value, y.value, color=colour, s=30, zorder=3)
            axes.annotate(f"{100 * target:g} %", (x.value, y.value), xytext=(5, 5), textcoords="offset points")
        axes.margins(0.12)
        axes.set(xlabel=str(say(language, "tradeoff_x")), ylabel=str(say(language, "tradeoff_y")))
        axes.grid(alpha=0.35)
        return as_svg(figure, name="tradeoff")


def _ends(figure: TracedFigure) -> list[float]:
    return [end for end in (figure.low, figure.high) if end is not None]


def tornado(findings: Findings, language: Language) -> str:
    """A bar per assumption that matters: the net saving of a month where it is 50 % smaller and 50 % larger."""
    net = findings.figures.value(f"net_at_{findings.criteria.decision.target_precision}")
    rows = [row for row in findings.sensitivities if row.matters] or findings.sensitivities
    with _style():
        figure = Figure(figsize=(7.6, 0.3 * len(rows) + 1.0), layout="constrained")
        axes = figure.subplots()
        for colour, side, values in (
            ("caption", "smaller", [row.less for row in rows]),
            ("mixed", "larger", [row.more for row in rows]),
        ):
            widths = [value - net for value in values]
            label = str(say(language, side))
            axes.barh(range(len(rows)), widths, left=net, height=0.6, color=COLOURS[colour], label=label)
        axes.axvline(net, color=COLOURS["ink"], linewidth=1)
        if axes.get_xlim()[0] < 0 < axes.get_xlim()[1]:
            axes.axvline(0, color=COLOURS["faint"], linewidth=1, linestyle="--")
        axes.set_yticks(range(len(rows)), [str(say(language, row.assumption)) for row in rows])
        axes.invert_yaxis()
        axes.tick_params(axis="y", length=0)
        axes.xaxis.set_major_formatter(FuncFormatter(_thousands))
        axes.locator_params(axis="x", nbins=6)
        axes.set_xlabel(findings.criteria.money.currency)
        axes.grid(axis="x", alpha=0.35)
        figure.legend(loc="outside upper left", ncols=2, handletextpad=0.5)
        return as_svg(figure, name="tornado")


def _thousands(value: float, _place: Any) -> str:
    return f"{value:,.0f}" if abs(value) >= 10 or value == 0 else f"{value:g}"
