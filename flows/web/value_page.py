"""The value page: what the release in service is worth with other assumptions than the committed ones."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from markupsafe import Markup
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from bentos.web.language import language_of
from bentos.web.render import render
from entityclip.errors import ConfigError, EntityClipError
from entityclip.paths import Layout
from entityclip.reports.value.numbers import PageNumbers
from entityclip.reports.value.readings import ReleaseEvidence
from entityclip.reports.value.sections import ASSUMED
from entityclip.reports.value.verdict import judge
from entityclip.reports.value.what_if import what_if
from entityclip.reports.value.words import say
from flows.web.waiting import Cached
from flows.workspace.criteria import committed_criteria
from flows.workspace.evidence import gather, reported_release

AT_TARGET = ("net", "hours_saved", "mismatches_saved", "by_hand")
"""Figures at the target precision of the criteria."""
CHANGEABLE = tuple(name for name in ASSUMED if name not in ("today.right_at_first_try", "today.right_in_the_end"))
"""Assumptions that a sum depends on."""
_THOUSANDS = re.compile(r"\d{1,3}(,\d{3})+(\.\d+)?")
"""A number with commas between thousands; in 1,5 the comma is a decimal one, and refused rather than dropped."""
OVERALL = ("payback", "running_cost", "break_even", "stages_payback")


class Assumption(NamedTuple):
    """A field of the form."""

    name: str
    label: Markup
    unit: str
    text: str
    """As the visitor typed it, else the committed value."""
    committed: Markup
    changed: bool

    @classmethod
    def of(cls, name: str, committed: PageNumbers, typed: str | None) -> Assumption:
        """The field of one assumption."""
        value = f"{committed.findings.figures.value(name):.12g}"
        text = value if typed is None else typed[:40]
        return cls(name, committed.label(name), committed.unit(name), text, committed.value(name), text != value)


class ComparedFigure(NamedTuple):
    """A row: one figure with the committed and with the changed assumptions."""

    label: Markup
    committed: Markup
    changed: Markup
    differs: bool

    @classmethod
    def of(cls, name: str, label: Markup, before: PageNumbers, after: PageNumbers) -> ComparedFigure:
        """The row of one figure, with its interval."""
        committed, changed = (Markup("{} {}").format(show.value(name), show.interval(name)) for show in (before, after))
        return cls(label, committed, changed, differs=committed != changed)


class ReleaseValue:
    """Results of the champion and the committed criteria, read again when one of them changes."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self._evidence = Cached(self._files, self._read)

    def evidence(self) -> tuple[str, ReleaseEvidence]:
        """Version of the champion, and everything on record about it.

        Raises:
            ConfigError: The criteria differ from the committed ones.
            WorkspaceError: No criteria were committed before the data, or there is no champion yet.
        """
        return self._evidence.get()

    def _files(self) -> list[Path]:
        git = self.layout.root / ".git"
        kept = [self.layout.criteria, self.layout.ledger, self.layout.reviews, self.layout.metrics("retrain")]
        return [git / "packed-refs", git / "refs" / "tags", git / "refs" / "heads" / "main", *kept]

    def _read(self) -> tuple[str, ReleaseEvidence]:
        committed = committed_criteria(self.layout, None)
        release = reported_release(self.layout, None)
        return release.version, gather(self.layout, release, committed)


async def page(request: Request) -> Response:
    """The form with every assumption, and what follows from them."""
    return await run_in_threadpool(_page, request)


def _page(request: Request) -> Response:
    worth: ReleaseValue = request.app.state.value
    try:
        version, evidence = worth.evidence()
        committed = what_if(evidence, {})
    except EntityClipError as error:
        return render(request, "error.html.j2", status=409, what="no_value", reason=str(error))
    typed = {name: request.query_params[name] for name in CHANGEABLE if name in request.query_params}
    changed, problem = committed, ""
    try:
        changed = what_if(evidence, _numbers(typed))
    except ConfigError as error:
        problem = str(error)
    language = language_of(request)
    before, after = (PageNumbers(findings, language) for findings in (committed, changed))
    target = committed.criteria.decision.target_precision
    labels = {f"{name}_at_{target}": before.label(f"{name}_at_{target}") for name in AT_TARGET}
    labels |= {name: say(language, f"figure.{name}") for name in OVERALL if before.has(name)}
    return render(
        request,
        "value_page.html.j2",
        status=422 if problem else 200,
        release=version,
        problem=problem,
        fields=[Assumption.of(name, before, typed.get(name)) for name in CHANGEABLE],
        rows=[ComparedFigure.of(name, label, before, after) for name, label in labels.items()],
        points=[ComparedFigure.of(f"net_at_{one}", before.target(one), before, after) for one in committed.targets],
        verdicts=[say(language, judge(findings).verdict) for findings in (committed, changed)],
        chosen=before.target(target),
    )


def _numbers(typed: Mapping[str, str]) -> dict[str, float]:
    """The values of the form's fields.

    Raises:
        ConfigError: One is no number; names it.
    """
    found = {}
    for name, text in typed.items():
        plain = unicodedata.normalize("NFKC", text).strip()
        try:
            found[name] = float(plain.replace(",", "") if _THOUSANDS.fullmatch(plain) else plain)
        except ValueError:
            raise ConfigError(f"{name}: {text[:40]!r} is no number; expected one like 1500 or 0.5") from None
    return found
