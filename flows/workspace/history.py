"""Past champions with their data, rules, code and model: ``entityclip history --workspace DIR``."""

from __future__ import annotations

from datetime import datetime

from entityclip.model.checkpoint_card import CheckpointCard
from entityclip.paths import Layout
from entityclip.schemas import PromotionDecision, Record, SealedLook
from flows.workspace.registry import ChampionPeriod, history, release_of
from flows.workspace.repository import Repository


class HistoryEntry(Record):
    """A release's time as the champion, and what the release consists of."""

    period: ChampionPeriod
    model: str
    data: str
    suite: str
    code: str | None
    """Hash of the sources that trained the model; None if the release has no card."""
    reasons: tuple[str, ...]
    """Reasons of the decision that promoted the model."""
    sealed: SealedLook | None = None
    """Its figures on the sealed split; None if its data had none."""


def history_entries(layout: Layout) -> list[HistoryEntry]:
    """Every champion period with the contents of its release, oldest first; read from Git."""
    return [_entry(layout, period) for period in history(layout)]


def at(known: list[HistoryEntry], moment: datetime) -> HistoryEntry | None:
    """What was live at that moment; None before the first champion."""
    return next(
        (e for e in known if e.period.since <= moment and (not e.period.until or moment < e.period.until)), None
    )


def _entry(layout: Layout, period: ChampionPeriod) -> HistoryEntry:
    release, repository = release_of(layout, period.version), Repository(layout.root)
    decision = PromotionDecision.model_validate_json(
        repository.committed(layout.report("promotion"), commit=release.commit) or ""
    )
    card = repository.committed(layout.report("card"), commit=release.commit)
    sealed = repository.committed(layout.sealed_look(release.model_fingerprint), commit=release.commit)
    return HistoryEntry(
        period=period,
        model=release.model_fingerprint,
        data=release.data_hash,
        suite=decision.suite_hash,
        code=CheckpointCard.model_validate_json(card).code_hash if card else None,
        reasons=decision.reasons,
        sealed=SealedLook.model_validate_json(sealed) if sealed else None,
    )


def summary(entry: HistoryEntry) -> str:
    """A few lines for a person."""
    period = entry.period
    until = f"{period.until:%Y-%m-%d %H:%M:%S}" if period.until else "now"
    code = (entry.code or "unknown")[:12]
    parts = f"model {entry.model[:12]}  data {entry.data[:12]}  rules {entry.suite[:12]}  code {code}"
    messages = [period.message] if period.message else []
    reasons = dict.fromkeys([*messages, *entry.reasons])  # the tag's message is often the first reason
    sealed = [f"sealed: {entry.sealed.summary}"] if entry.sealed else []
    lines = [f"{period.version}  {period.since:%Y-%m-%d %H:%M:%S} to {until} UTC", parts, *reasons, *sealed]
    return "\n  ".join(lines)
