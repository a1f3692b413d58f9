"""The quality gate: takes staging; writes the accepted rows, and a reason for every row that was quarantined."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

import pandas as pd

from entityclip.data import pairs
from entityclip.data.rights import read_rights
from entityclip.data.split_groups import read_near_duplicates
from entityclip.errors import WriterError
from entityclip.paths import DataLayout, claims_beside
from entityclip.quality import score_pairs
from entityclip.quality.claims.agreement import reader_agreement
from entityclip.quality.claims.claim_table import claim_counts, write_claims
from entityclip.quality.review import Waiver
from entityclip.schemas import QualityReport
from expectations.gate_scorers import TEXT_RULES_ONLY, GateScorers, Scored
from expectations.page import SuiteResult, write_validation_page
from expectations.quarantine import (
    quarantine_rows,
    quarantined_explanations,
    quarantined_pairs,
    write_quarantine_file,
)
from expectations.suites import (
    POSITION,
    Suite,
    copy_context,
    failed_check,
    suite_file,
    suite_hash,
    validate,
)

REJECTED = "rejected"
"""Stands in the place of a rule for pictures that a reviewer rejected and that break no rule."""
UNSCORED = "the scores could not be computed"
log = logging.getLogger(__name__)

__all__ = ["GateScorers", "check", "copy_context", "suite_hash"]


def check(
    staging: DataLayout,
    *,
    accepted: DataLayout,
    quarantine: Path,
    context_root: Path,
    scorers: GateScorers = TEXT_RULES_ONLY,
    waived: Mapping[str, Waiver] = MappingProxyType({}),
    progress: bool = False,
) -> QualityReport:
    """Score pairs and explanations, validate them against their suites, and write the rows that pass to ``accepted``.

    A row that breaks a critical rule is quarantined; ``quarantine`` names it and the rule. The batch as a whole is
    refused when more rows of a table do so than its suite's ``max_quarantined_share`` allows, when a critical rule
    about the table as a whole fails, or when a check could not run. ``accepted`` is then left incomplete, so that no
    one can read it, and the report gives the reason. A refusal raises nothing; the caller decides. The validation page
    is written in either case. Where claims are checked, ``claims.parquet`` beside the quarantine file has one row for
    each, with its evidence.

    Args:
        staging: Complete, explanations included. Read only.
        accepted: Emptied first; complete only when the batch passed.
        quarantine: CSV, see ``quarantine.COLUMNS``; replaced, or removed where no row was quarantined.
        context_root: Project root of the Great Expectations context with the suites.
        scorers: Models and domain rules that score texts, besides the rules on words.
        waived: Id of an explanation or a pair -> the rules that it may break, because a reviewer accepted it; or that
            the pair is rejected.
        progress: Show a progress bar on standard error.

    Raises:
        WriterError: A second reader is set, and its server gave no answer.
        DataError: Staging is missing or half-written.
        ConfigError: A suite cannot be read.
    """
    pairs.require_complete(staging)
    pairs.start(accepted)
    photographed, written = pairs.read_frame(staging.pairs), pairs.read_frame(staging.explanations)
    rights = read_rights(suite_file("pairs", context_root))
    near = read_near_duplicates(staging)
    of_pairs = _validated(
        photographed,
        lambda frame: Scored(score_pairs(frame, rights=rights, near=near)),
        suite="pairs",
        context_root=context_root,
        waived=_rows_waived(photographed.get("pair_id", ()), waived),
    )
    of_pairs = _without_rejected(of_pairs, waived)
    of_texts = _validated(
        written,
        lambda frame: scorers.score(frame, staging),
        suite="explanations",
        context_root=context_root,
        waived=_rows_waived(written.get("explanation_id", ()), waived),
    )
    lines = [
        quarantined_pairs(of_pairs.verdict.broken, photographed, staging=staging),
        quarantined_explanations(of_texts.verdict.broken, written, staging=staging),
    ]
    write_quarantine_file(quarantine, pd.concat(lines))
    write_claims(claims_beside(quarantine), of_texts.claims)
    bad_pairs, bad_texts = (set(found.verdict.broken[POSITION]) for found in (of_pairs, of_texts))
    refusals = of_pairs.verdict.refusals + of_texts.verdict.refusals
    if not refusals:
        rows = {"bad_pairs": bad_pairs, "bad_texts": bad_texts}
        quarantine_rows(staging, accepted, **rows, waived=_used(of_pairs, waived), progress=progress)
    agreement = reader_agreement(of_texts.claims, scorers.reviewed)
    both = (of_pairs, of_texts)
    page = write_validation_page(both, agreement=agreement, staging=staging, context_root=context_root)
    report = _report(of_pairs, of_texts, quarantine=quarantine, suites=suite_hash(context_root), page=page)
    return report.model_copy(update={"agreement": agreement})


def _rows_waived(ids: Iterable[str], waived: Mapping[str, Waiver]) -> set[tuple[int, str]]:
    """Position and rule of the accepted rows among those with these ids."""
    found = ((position, waived.get(key)) for position, key in enumerate(ids))
    return {(position, rule) for position, waiver in found if waiver is not None for rule in waiver.rules}


def _without_rejected(found: SuiteResult, waived: Mapping[str, Waiver]) -> SuiteResult:
    """The result with the rejected pairs among those that broke a rule."""
    known, rows = set(found.verdict.broken[POSITION]), []
    for position, key in enumerate(found.table.get("pair_id", ())):
        if (waiver := waived.get(key)) and waiver.rejected and position not in known:
            rows.append((position, REJECTED, f"{waiver.person}, {waiver.day}"))
    if not rows:
        return found
    lines = pd.DataFrame(rows, columns=found.verdict.broken.columns)
    return found._replace(verdict=replace(found.verdict, broken=pd.concat([found.verdict.broken, lines])))


def _used(found: SuiteResult, waived: Mapping[str, Waiver]) -> dict[str, Waiver]:
    """pair_id -> the rules that a reviewer waived and the pair broke."""
    used: dict[str, Waiver] = {}
    ids = list(found.table.get("pair_id", ()))
    for position, rule in found.verdict.waived:
        key = ids[position]
        before = used[key].rules if key in used else frozenset()
        used[key] = waived[key]._replace(rules=before | {rule})
    return used


def _report(
    of_pairs: SuiteResult, of_texts: SuiteResult, *, quarantine: Path, suites: str, page: Path
) -> QualityReport:
    bad_pairs, bad_texts = (len(set(found.verdict.broken[POSITION])) for found in (of_pairs, of_texts))
    refusals = of_pairs.verdict.refusals + of_texts.verdict.refusals
    return QualityReport(
        accepted_pairs=0 if refusals else len(of_pairs.table) - bad_pairs,
        accepted_explanations=0 if refusals else len(of_texts.table) - bad_texts,
        quarantined_pairs=bad_pairs,
        quarantined_explanations=bad_texts,
        quarantine_file=str(quarantine) if bad_pairs or bad_texts else None,
        refused=bool(refusals),
        refusal="; ".join(refusals) or None,
        rules=of_pairs.verdict.rules + of_texts.verdict.rules,
        suite_hash=suites,
        validation_page=str(page),
        claims=claim_counts(of_texts.claims),
    )


def _validated(
    table: pd.DataFrame,
    score: Callable[[pd.DataFrame], Scored],
    *,
    suite: Suite,
    context_root: Path,
    waived: Collection[tuple[int, str]] = (),
) -> SuiteResult:
    """Score the table and validate it.

    A scorer that raises counts as one failed check; rules on the table's own columns still run, rules on scores are
    skipped.
    """
    try:
        scored = score(table)
    except WriterError:
        raise  # of a second reader: the answers so far are kept, and the next run sends the other requests
    except Exception as error:
        log.exception("%s: the scores could not be computed", suite)
        failed = failed_check("scores", error, suite=suite)
        verdict = validate(table, suite=suite, context_root=context_root, unscored=UNSCORED)
        why = (
            f"{suite}: the scores could not be computed: {failed.error}; the columns are {', '.join(table.columns)}; "
            "no rule on a score was checked; the log has the traceback"
        )
        verdict = replace(verdict, rules=(failed, *verdict.rules), refusals=(why, *verdict.refusals))
        return SuiteResult(suite, table, verdict)
    verdict = validate(scored.table, suite=suite, context_root=context_root, missing=scored.missing, waived=waived)
    refusals = (f"{suite}: {scored.refusal}",) if scored.refusal else ()
    return SuiteResult(suite, table, replace(verdict, refusals=(*refusals, *verdict.refusals)), scored.claims)
