"""What was live when, with data, rules, code and model: ``python -m flows.workspace.history --workspace DIR``."""

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
from flows.workspace.registry import Reign, history, release_of
from flows.workspace.repository import Repository


class Era(Record):
    """A release's time as the champion, and everything that it consisted of."""

    reign: Reign
    model: str
    data: str
    suite: str
    code: str | None
    """Hash of the sources that trained the model; None for a release that does not tell."""
    reasons: tuple[str, ...]
    """Of the decision that promoted the model."""


def eras(layout: Layout) -> list[Era]:
    """Every reign with the contents of its release, oldest first; all of it read from Git."""
    return [_era(layout, reign) for reign in history(layout)]


def at(known: list[Era], moment: datetime) -> Era | None:
    """What was live at that moment; None before the first champion."""
    return next((e for e in known if e.reign.since <= moment and (not e.reign.until or moment < e.reign.until)), None)


def _era(layout: Layout, reign: Reign) -> Era:
    release, repository = release_of(layout, reign.version), Repository(layout.root)
    decision = PromotionDecision.model_validate_json(
        repository.committed(layout.report("promotion"), commit=release.commit) or ""
    )
    card = repository.committed(layout.report("card"), commit=release.commit)
    return Era(
        reign=reign,
        model=release.model_fingerprint,
        data=release.data_hash,
        suite=decision.suite_hash,
        code=CheckpointCard.model_validate_json(card).code_hash if card else None,
        reasons=decision.reasons,
    )


# ---------------------------------------------------------------- by hand
def main(
    workspace: Annotated[Path, typer.Option(help="Git and DVC repository of the releases.")],
    when: Annotated[str | None, typer.Option("--at", help="Only what was live then, like 2026-11-01T02:00Z.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line, with whole hashes.")] = False,
) -> None:
    """What was live when, with data, rules, code and model; oldest first."""
    try:
        known = eras(Layout(workspace.resolve()))
        if when is not None:
            found = at(known, _moment(when))
            known = [found] if found else []
    except EntityClipError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        raise typer.Exit(1) from None
    for era in known:
        print(era.model_dump_json() if as_json else _told(era))
    if not known:
        print("nothing was live", file=sys.stderr)


def _moment(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise ConfigError(f"--at {text!r}: expected a time like 2026-11-01 or 2026-11-01T02:00+00:00") from error
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _told(era: Era) -> str:
    reign = era.reign
    until = f"{reign.until:%Y-%m-%d %H:%M:%S}" if reign.until else "now"
    code = (era.code or "not told")[:12]
    parts = f"model {era.model[:12]}  data {era.data[:12]}  rules {era.suite[:12]}  code {code}"
    said = dict.fromkeys([*([reign.message] if reign.message else []), *era.reasons])  # the tag often says the first
    lines = [f"{reign.version}  {reign.since:%Y-%m-%d %H:%M:%S} to {until} UTC", parts, *said]
    return "\n  ".join(lines)


if __name__ == "__main__":
    typer.run(main)
