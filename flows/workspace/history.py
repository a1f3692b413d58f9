"""Past champions with their data, rules, code and model: ``python -m flows.workspace.history --workspace DIR``."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from entityclip.errors import ConfigError, EntityClipError
from entityclip.model.checkpoint_card import CheckpointCard
from entityclip.paths import Layout
from entityclip.schemas import PromotionDecision, Record
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
    return HistoryEntry(
        period=period,
        model=release.model_fingerprint,
        data=release.data_hash,
        suite=decision.suite_hash,
        code=CheckpointCard.model_validate_json(card).code_hash if card else None,
        reasons=decision.reasons,
    )


# ---------------------------------------------------------------- by hand
def main(
    workspace: Annotated[Path, typer.Option(help="Git and DVC repository of the releases.")],
    when: Annotated[str | None, typer.Option("--at", help="Time to look up, like 2026-11-01T02:00Z.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object per line, with full hashes.")] = False,
) -> None:
    """List the champions of the past with their data, rules, code and model; oldest first."""
    try:
        known = history_entries(Layout(workspace.resolve()))
        if when is not None:
            found = at(known, _moment(when))
            known = [found] if found else []
    except EntityClipError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        raise typer.Exit(1) from None
    for entry in known:
        print(entry.model_dump_json() if as_json else _summary(entry))
    if not known:
        print("nothing was live", file=sys.stderr)


def _moment(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise ConfigError(f"--at {text!r}: expected a time like 2026-11-01 or 2026-11-01T02:00+00:00") from error
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _summary(entry: HistoryEntry) -> str:
    period = entry.period
    until = f"{period.until:%Y-%m-%d %H:%M:%S}" if period.until else "now"
    code = (entry.code or "unknown")[:12]
    parts = f"model {entry.model[:12]}  data {entry.data[:12]}  rules {entry.suite[:12]}  code {code}"
    messages = [period.message] if period.message else []
    reasons = dict.fromkeys([*messages, *entry.reasons])  # the tag's message is often the first reason
    lines = [f"{period.version}  {period.since:%Y-%m-%d %H:%M:%S} to {until} UTC", parts, *reasons]
    return "\n  ".join(lines)


if __name__ == "__main__":
    typer.run(main)
