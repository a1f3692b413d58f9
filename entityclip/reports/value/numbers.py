"""Numbers of the value report as people read them: rounded, with a unit, and linked to the line of their source."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from markupsafe import Markup

from entityclip.reports.value.figures import TracedFigure
from entityclip.reports.value.findings import Findings
from entityclip.reports.value.readings import CRITERIA
from entityclip.reports.value.words import formulas, say, texts
from entityclip.reports.words import Language

_TARGET = re.compile(r"^(.+)_at_(0\.\d+)$")
_WITHOUT_VALUE = {"payback": "never", "right_tags": "no_tags"}
"""Name of a figure, without its target -> text where it has no value."""


@dataclass(frozen=True)
class PageNumbers:
    """Numbers of a page in its language."""

    findings: Findings
    language: Language

    def __call__(self, name: str) -> Markup:
        """The value of a figure, as a link to the line that says where it comes from."""
        return self._link(name, self.value(name))

    def value(self, name: str) -> Markup:
        """The value of a figure."""
        figure = self.findings.figures[name]
        return self._without_value(name) if figure.value is None else self.number(figure)

    def unit(self, name: str) -> str:
        """Unit of a figure; '' for a count."""
        unit = self.findings.figures[name].unit
        return "%" if unit == "percent" else self._unit(unit)

    def interval(self, name: str) -> Markup:
        """``[low, high]`` of a figure, without its unit; '' where it has none, or both ends read alike."""
        figure = self.findings.figures[name]
        if figure.low is None and figure.high is None:
            return Markup("")
        low, high = (self._plain(end, figure.unit) for end in (figure.low, figure.high))
        return Markup("") if low == high else Markup("<small>[{}, {}]</small>").format(low, high)

    def fewer(self, name: str) -> Markup:
        """A difference of a count as words: so many fewer, or more where it is negative."""
        figure = self.findings.figures[name]
        count = self._plain(abs(figure.value or 0.0), figure.unit)
        if count == "0":
            return self._link(name, Markup(count))
        return self._link(name, say(self.language, "more" if (figure.value or 0.0) < 0 else "fewer", count=count))

    def target(self, target: float) -> Markup:
        """A target precision, in percent."""
        return say(self.language, "percent", value=f"{100 * target:g}")

    def has(self, name: str) -> bool:
        """Whether the figure is there."""
        return name in self.findings.figures

    def exists(self, name: str) -> bool:
        """Whether the figure is there and has a value."""
        return self.has(name) and self.findings.figures[name].value is not None

    def label(self, name: str) -> Markup:
        """What a figure is, in words."""
        section, _, rest = name.partition(".")
        if section in ("success", "withdrawal", "net_less", "net_more"):
            return say(self.language, f"figure.{section}", of=say(self.language, rest))
        if section == "stage":
            number, _, field = rest.partition(".")
            stage = self.findings.criteria.stages[int(number)].name
            return say(self.language, "figure.stage", of=say(self.language, f"stage.{field}"), stage=stage)
        if section == "per_point":
            return say(self.language, "figure.per_point", of=say(self.language, f"figure.release.{rest}"))
        if section == "seconds":
            return say(self.language, "figure.seconds", of=rest)
        if found := _TARGET.match(name):
            of = say(self.language, f"figure.{found[1]}")
            return say(self.language, "figure.at", of=of, target=self.target(float(found[2])))
        return say(self.language, name if name in texts(self.language) else f"figure.{name}")

    def formula(self, figure: TracedFigure) -> str:
        """How a figure is computed."""
        return figure.formula if self.language == "en" else formulas()[figure.formula]

    def number(self, figure: TracedFigure) -> Markup:
        """The value with its unit."""
        if figure.name == "target_precision" and figure.value is not None:
            return self.target(figure.value)
        text = self._assumed(figure.value) if figure.name in self._given else self._plain(figure.value, figure.unit)
        if figure.unit == "percent":
            return say(self.language, "percent", value=text)
        return Markup("{}\u00a0{}").format(text, self._unit(figure.unit)) if self._unit(figure.unit) else Markup(text)

    def at_least(self, name: str) -> Markup:
        """A count, rounded up: what is true from the count on is true from this number on."""
        return self._link(name, Markup(f"{math.ceil(self.findings.figures[name].value or 0.0):,}"))

    def _link(self, name: str, text: Markup) -> Markup:
        return Markup('<a class="figure" href="#figure-{}">{}</a>').format(name, text)

    def _without_value(self, name: str) -> Markup:
        found = _TARGET.match(name)
        text = _WITHOUT_VALUE.get(found[1] if found else name)
        return say(self.language, text) if text else Markup("–")

    def _unit(self, unit: str) -> str:
        if unit == "money":
            return self.findings.criteria.money.currency
        words = {"hours": "unit_hours", "minutes": "unit_minutes", "months": "unit_months", "seconds": "unit_seconds"}
        if unit in words:
            return str(say(self.language, words[unit]))
        return {"ms": "ms", "MB": "MB"}.get(unit, "")

    def _plain(self, value: float | None, unit: str) -> str:
        if value is None:
            return "∞" if unit == "months" else "–"
        if unit == "money":
            value = float(f"{value:.3g}")  # more digits would promise more than the assumptions hold
        short = abs(value) >= 100 or (float(value).is_integer() and unit not in ("percent", "points", "months"))
        decimals = 0 if short else 2 if unit == "points" and abs(value) < 1 else 1
        return f"{value:,.{decimals}f}".replace("-", "−")

    def _assumed(self, value: float | None) -> str:
        """An assumption, as it stands in the file."""
        return f"{value:,.4f}".rstrip("0").rstrip(".").replace("-", "−")

    @property
    def _given(self) -> set[str]:
        return {figure.name for figure in self.findings.figures.all if figure.file == CRITERIA}
