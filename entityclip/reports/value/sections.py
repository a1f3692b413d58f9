"""What the sections of the value report say: the limits, why the verdict is so, and what is not known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from markupsafe import Markup

from entityclip.reports.value.criteria import TARGETS, Criteria
from entityclip.reports.value.findings import Findings
from entityclip.reports.value.numbers import PageNumbers
from entityclip.reports.value.readings import MORE_PICTURES
from entityclip.reports.value.verdict import Check, CheckedCriteria, figure_of, succeeds_at
from entityclip.reports.value.words import say, texts

ASSUMED = tuple(
    f"{section}.{field}"
    for section in ("today", "workload", "money")
    for field in Criteria.model_fields[section].annotation.model_fields  # type: ignore[union-attr]
    if field != "currency"
)
"""Every assumption, in the order of the file."""
SPENT = (
    "tokens_in",
    "tokens_out",
    "writer_money",
    "review_minutes",
    "run_seconds",
    "gain",
    "gain_low",
    "latency",
    "size",
    "accepted_pairs",
    "quarantined_pairs",
    "accepted_explanations",
    "quarantined_explanations",
)
"""What is on record about cost and data."""
FOREIGN = {"catalog": "tested_drawn", "grocery": "tested_public"}
"""Source whose pictures are drawn, or of a public data set -> text: its results are no evidence about real products."""
_STEPS = {
    "min_recall_at_1": "step_recall",
    "min_recall_at_5": "step_recall",
    "min_precision": "step_recall",
    "max_by_hand": "step_recall",
    "min_net_per_month": "step_money",
    "max_payback_months": "step_money",
}
"""Limit -> text of what to do where a result misses it."""


# ---------------------------------------------------------------- verdict
def reasons(judgement: CheckedCriteria, show: PageNumbers) -> list[Markup]:
    """Each met withdrawal criterion of a Stop, or each success criterion that is not surely reached."""
    said = partial(say, show.language)
    if judgement.verdict == "stop":
        met = [check for check in judgement.checks if check.outcome == "met"]
        return [said("reason_met", **_words(check, show)) for check in met]
    short = [check for check in judgement.checks if check.part == "success" and check.outcome != "reached"]
    return [said(f"reason_{_outcome(check, show)}", **_words(check, show)) for check in short]


def _outcome(check: Check, show: PageNumbers) -> str:
    """Text of an outcome: what could not be measured is not merely uncertain."""
    figure = show.findings.figures[check.figure]
    return "unmeasured" if check.outcome == "open" and figure.value is figure.low is None else check.outcome


def _words(check: Check, show: PageNumbers) -> dict[str, Markup]:
    return {
        "criterion": say(show.language, check.limit),
        "value": show(check.figure),
        "limit": _limit(check.part, check.limit, show),
    }


def _limit(part: str, name: str, show: PageNumbers) -> Markup:
    least = ("at_least", "at_most") if part == "success" else ("below", "above")
    return say(show.language, least[0 if name.startswith("min_") else 1], limit=show(f"{part}.{name}"))


def why(judgement: CheckedCriteria) -> str:
    """Text of why the verdict is so; a limit that is plainly missed is not only in doubt."""
    short = {check.outcome for check in judgement.checks if check.part == "success"} - {"reached"}
    if judgement.verdict != "adjust" or short == {"open"}:
        return f"why_{judgement.verdict}"
    return "why_adjust_missed" if short == {"missed"} else "why_adjust_both"


def steps(findings: Findings, judgement: CheckedCriteria, show: PageNumbers) -> list[Markup]:
    """What to do next; another target precision only where every criterion is reached at it."""
    said = partial(say, show.language)
    if judgement.verdict != "adjust":
        return [said(f"step_{judgement.verdict}")]
    chosen = findings.criteria.decision.target_precision
    others = [target for target in findings.targets if target != chosen and succeeds_at(findings, target)]
    if others:
        best = max(others, key=lambda target: findings.figures.value(f"net_at_{target}"))
        values = {"net": show(f"net_at_{best}"), "before": show(f"net_at_{chosen}")}
        values |= {"mismatches": show.fewer(f"mismatches_saved_at_{best}")}
        values |= {"mismatches_before": show.fewer(f"mismatches_saved_at_{chosen}")}
        return [said("step_target", target=show.target(best), chosen=show.target(chosen), **values)]
    short = [check for check in judgement.checks if check.part == "success" and check.outcome != "reached"]
    found = [_step(check, findings) for check in short]
    return [said("step_no_target"), *(said(step) for step in dict.fromkeys(found))]


def _step(check: Check, findings: Findings) -> str:
    """More pictures of the test decide only where the figure has an interval, which contains the limit."""
    figure = findings.figures[check.figure]
    spans = check.outcome == "open" and figure.value is not None
    return "step_open" if spans else _STEPS[check.limit]


def tested_on(source: str, preset: str, show: PageNumbers) -> Markup:
    """Which pictures the figures come from; a warning where these are not the reader's."""
    said = partial(say, show.language)
    known = f"source.{source}" in texts(show.language)
    parts = [
        said(
            "tested_on",
            pictures=show("pictures"),
            entities=show("entities"),
            source=said(f"source.{source}") if known else said("source.other"),
        ),
        said("tested_preset", preset=preset) if preset else Markup(""),
        said("tested_index"),
        said(FOREIGN[source]) if source in FOREIGN else Markup(""),
    ]
    return Markup("" if show.language == "ja" else " ").join(part for part in parts if part)


def about(workspace: str, source: str, preset: str, show: PageNumbers) -> list[Markup]:
    """Workspace, data and preset, so that reports of two workspaces can be distinguished."""
    said = partial(say, show.language)
    key = f"source.{source}"
    data = said(key if key in texts(show.language) else "source.other")
    return [
        *([said("about_workspace", workspace=workspace)] if workspace else []),
        said("about_data", source=data, pictures=show("pictures")),
        *([said("about_preset", preset=preset)] if preset else []),
    ]


def longest_search(show: PageNumbers) -> list[Markup]:
    """How long a search with suggestions may take for the net saving to stay at the Go limit, and above zero."""
    said = partial(say, show.language)
    found = []
    for part in ("go", "zero"):
        name = f"suggestion_minutes.{part}"
        if show.exists(name):
            limit = {"limit": show("success.min_net_per_month")} if part == "go" else {}
            found.append(said(f"search_{part}", minutes=show(name), range=show.interval(name), **limit))
    return [*found, said("search_assumed", assumed=show("workload.minutes_per_suggestion"))] if found else []


def net_range(findings: Findings, show: PageNumbers) -> Markup:
    """The net saving where the one assumption that counts most is 50 % off, which its interval does not cover."""
    names = [
        f"{part}.{row.assumption}" for row in findings.sensitivities if row.matters for part in ("net_less", "net_more")
    ]
    if not names:
        return Markup("")
    value = findings.figures.value
    return say(show.language, "net_range", least=show(min(names, key=value)), most=show(max(names, key=value)))


# ---------------------------------------------------------------- tables
@dataclass(frozen=True)
class CriterionRow:
    """One criterion with both limits."""

    limit: str
    figure: str
    success: Markup | None
    withdrawal: Markup | None
    outcome: str
    """Text of the outcome."""
    kind: str
    """Colour: good, warn, bad or plain."""


_KINDS = {"met": "bad", "reached": "good", "missed": "bad", "open": "warn", "unmeasured": "warn", "not_met": "plain"}


def criteria_rows(findings: Findings, judgement: CheckedCriteria, show: PageNumbers) -> list[CriterionRow]:
    """A row per criterion that success or withdrawal names."""
    target = findings.criteria.decision.target_precision
    found = {(check.part, check.limit): _outcome(check, show) for check in judgement.checks}
    rows = []
    for limit in type(findings.criteria.success).model_fields:
        success, withdrawal = found.get(("success", limit)), found.get(("withdrawal", limit))
        outcome = "met" if withdrawal == "met" else success or withdrawal
        if outcome is None:
            continue
        rows.append(
            CriterionRow(
                limit=limit,
                figure=figure_of(limit, findings.criteria, target),
                success=_limit("success", limit, show) if success else None,
                withdrawal=_limit("withdrawal", limit, show) if withdrawal else None,
                outcome=outcome,
                kind=_KINDS[outcome],
            )
        )
    return rows


def comparison(findings: Findings) -> list[tuple[str, str, str]]:
    """Text, then today and with the release: each a figure, or a text in its place."""
    target = findings.criteria.decision.target_precision
    return [
        ("first", "today.right_at_first_try", "recall_at_1"),
        ("in_the_end", "today.right_in_the_end", "not_measured"),
        ("five", "not_applicable", "recall_at_5"),
        ("needs_person", "today_all", f"by_hand_at_{target}"),
        ("automatic_right", "today_none", f"right_tags_at_{target}"),
        ("hours", "today.hours", f"hours_at_{target}"),
        ("mismatches", "today.mismatches", f"mismatches_at_{target}"),
        ("cost", "today.cost", f"cost_at_{target}"),
        ("running", "not_applicable", "running_cost"),
    ]


# ---------------------------------------------------------------- limits of the report
def not_known(findings: Findings, show: PageNumbers) -> Sequence[Markup]:
    """Sentences about what the figures cannot say, the most important first."""
    said = partial(say, show.language)
    checks = f"checks_at_{findings.criteria.decision.target_precision}"
    minutes = "release.review_minutes" if show.has("release.review_minutes") else "review_minutes"
    costs = {"review_minutes": minutes, "writer_money": "writer_money"}
    spent = {key: show(name) if show.has(name) else said("not_recorded") for key, name in costs.items()}
    sentences = [
        said("unknown_people"),
        said("unknown_large", checks=show(checks)) if findings.figures[checks].value else said("unknown_large_by_hand"),
        said("unknown_costs", **spent),
        said("unknown_pictures"),
        said("unknown_share", share=show("workload.unknown_share")),
    ]
    missing = [str(show.target(target)) for target in TARGETS if target not in findings.targets]
    if missing:
        sentences.append(said("unknown_points", targets=", ".join(missing)))
    if not show.has("run_seconds"):
        sentences.append(said("unknown_run"))
    if not show.has("latency"):
        sentences.append(said("unknown_latency"))
    sentences.append(_more_pictures(show))
    if show.has("learning.gain"):
        names = ("before", "after", "pictures_before", "pictures_after", "gain", "per_hundred")
        values = {name: show(f"learning.{name}") for name in names}
        ranges = {f"{name}_range": show.interval(f"learning.{name}") for name in ("gain", "per_hundred")}
        sentences.append(said("learning_curve", **values, **ranges))
    return sentences


def _more_pictures(show: PageNumbers) -> Markup:
    """What more pictures bring, where that was measured."""
    said = partial(say, show.language)
    if not show.has("more_pictures.gain"):
        return said("unknown_longer")
    fewest, most = (show.findings.figures[f"more_pictures.{name}"].value for name in ("fewest", "most"))
    span = "span_open" if most is None else "span" if fewest != most else "span_single" if most == 1 else "span_one"
    found = {name: show(f"more_pictures.{name}") for name in MORE_PICTURES}
    proven = (show.findings.figures["more_pictures.low"].value or 0.0) > 0
    return said("more_pictures" if proven else "more_pictures_open", pictures=said(span, **found), **found)
