"""Texts are mended: a person accepts or edits them, the writer writes them again, or the source corrects a colour.

Each is committed separately from the data version: ``reports/reviews.csv`` holds who decided what,
``reports/written_again.csv`` the old text, the rule and the new text, ``reports/corrected.csv`` what was replaced.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from prefect import get_run_logger, task
from prefect.cache_policies import NO_CACHE

from entityclip.data import pairs
from entityclip.data.rights import read_rights
from entityclip.data.sources.other_names import OTHER_NAME
from entityclip.explanations.retry_rejected import write_again
from entityclip.explanations.source_writer import SourceWriter, Writer
from entityclip.paths import DataLayout, Layout
from entityclip.quality.claims.correct import correct_staged
from entityclip.quality.claims.vocabulary import read_vocabulary
from entityclip.quality.quarantine_file import broken_texts
from entityclip.quality.review import Merged, merge, read_reviews
from entityclip.schemas import QualityReport
from entityclip.storage import write_table
from flows.workspace.repository import Repository, exclusive


@task(cache_policy=NO_CACHE)
def merge_reviews(layout: Layout) -> Merged:
    """Apply the reviews of texts to staging; new reviews are committed first."""
    reviews = read_reviews(layout.reviews)
    if not reviews:
        return Merged()
    counts = Counter(review.decision for review in reviews)
    who = ", ".join(sorted({review.reviewer for review in reviews}))
    decisions = ", ".join(f"{count} {decision}" for decision, count in sorted(counts.items()))
    _record(layout, layout.reviews, message=f"Reviews by {who}: {decisions}")
    done = merge(layout.staging, reviews)
    get_run_logger().info("%s of %s reviewed texts are in this batch", done.texts, len(reviews))
    return done


@task(cache_policy=NO_CACHE)
def ask_again(layout: Layout, batch: str, writer: Writer) -> int:
    """Let the writer rewrite the batch's rejected texts in staging; returns how many it replaced."""
    broken = broken_texts(layout.quarantine(batch))
    rights = read_rights(layout.pairs_suite)
    lines = write_again(layout.staging, broken, writer=writer, ledger=layout.ledger, rights=rights, progress=True)
    write_table(layout.written_again, lines)
    rules = ", ".join(f"{rule} {count}" for rule, count in broken["rule"].value_counts().items())
    _record(layout, layout.written_again, message=f"Ask again for {len(lines)} texts that broke rules\n\n{rules}")
    return int((lines["written_again"] != "").sum())


@task(cache_policy=NO_CACHE)
def correct_colours(layout: Layout, earlier: pd.DataFrame | None = None) -> pd.DataFrame:
    """Give each part in the texts in staging the colour that the source states.

    Returns:
        A row for each corrected text, those of ``earlier`` first.
    """
    new = correct_staged(layout.staging, read_vocabulary(layout.attributes))
    lines = new if earlier is None else pd.concat([earlier, new])
    if len(new):
        write_table(layout.corrected, lines)
        _record(layout, layout.corrected, message=f"Colours in {len(new)} texts corrected by the source")
        get_run_logger().info("colours in %d texts were corrected by the source: %s", len(new), layout.corrected)
    return lines


def to_write_again(layout: Layout, batch: str, writer: Writer) -> bool:
    """Whether the batch has rejected texts and the writer can write new ones; a source always gives the same texts."""
    quarantine = layout.quarantine(batch)
    return writer.generator != SourceWriter.generator and quarantine.exists() and not broken_texts(quarantine).empty


def summary(
    source: str,
    quality: QualityReport,
    merged: Merged,
    again: int,
    *,
    corrected: int = 0,
    contributed: Sequence[str] = (),
) -> str:
    """Message of the data version's commit: counts of quarantined, mended, reviewed and contributed rows."""
    aside = ", ".join(f"{rule.rule} {rule.quarantined}" for rule in quality.rules if rule.quarantined)
    lines = [f"Set aside: {aside}"] if aside else []
    lines += [f"Written again: {again}"] if again else []
    lines += [f"Corrected by the source: {corrected}"] if corrected else []
    if merged.texts:
        lines.append(
            f"Reviewed by {', '.join(merged.reviewers)}: {merged.accepted} accepted, {merged.edited} edited, "
            f"{merged.rejected} rejected"
        )
    lines += contributed
    return "\n".join([f"Data from {source}: {quality.accepted_pairs} pairs", *([""] if lines else []), *lines])


def contributions(data: DataLayout) -> list[str]:
    """One line for each reason why people added rows to the data: who, and how many pictures; likewise other names."""
    rows = pairs.read_frame(data.pairs, columns=["person", "reason"]).dropna(subset="reason").fillna("")
    entities = pairs.read_frame(data.entities, columns=["person", "reason"]).fillna("")
    named = entities[entities["reason"].str.contains(OTHER_NAME, regex=False)]
    people = ", ".join(sorted(set(named["person"])))
    return [
        f"From {reason} by {', '.join(sorted(set(part['person'])))}: {len(part)} pictures"
        for reason, part in rows.groupby("reason")
    ] + [f"From {OTHER_NAME} by {people}: {len(named)} products"] * bool(len(named))


def _record(layout: Layout, path: Path, *, message: str) -> None:
    """Commit the file if it differs from HEAD."""
    with exclusive(layout):
        Repository(layout.root).commit(message, [path])
