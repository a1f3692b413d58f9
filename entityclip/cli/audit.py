"""What was sent to whom: ``audit``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import typer

from entityclip.cli.options import Csv, Json, Workspace
from entityclip.cli.printed import last_line, table
from entityclip.layout import Layout


def audit(workspace: Workspace = Path(), csv: Csv = None, as_json: Json = False) -> None:
    """Show how many texts were sent to which host and model, and what was taken out of them first.

    The texts themselves are not kept, only their hash and length; --csv lists them one by one.
    """
    from entityclip.explain.audit import Sent, read_audit

    ledger = Layout(workspace).ledger
    sent = pd.DataFrame([row.model_dump() for row in read_audit(ledger)], columns=list(Sent.model_fields))
    lines = [_line(str(host), str(model), part) for (host, model), part in sent.groupby(["host", "model"], sort=False)]
    table([line | {"redacted": _said(line["redacted"])} for line in lines])
    typer.echo(f"\n{len(sent):,} texts were sent; ledger: {ledger}")
    if csv is not None:
        sent.assign(redactions=sent["redactions"].map(_said)).to_csv(csv, index=False, lineterminator="\n")
        typer.echo(f"Each of them: {csv}")
    last_line({"sent": len(sent), "destinations": lines}, as_json)


def _line(host: str, model: str, sent: pd.DataFrame) -> dict[str, Any]:
    redacted = pd.DataFrame(sent["redactions"].tolist()).sum().astype("int64").to_dict()
    return {
        "host": host,
        "model": model,
        "texts": len(sent),
        "entities": int(sent["entity_id"].nunique()),
        "characters": int(sent["characters"].sum()),
        "first": sent["sent_at"].min(),
        "last": sent["sent_at"].max(),
        "redacted": redacted,
    }


def _said(redactions: dict[str, int]) -> str:
    """As in ``EMAIL 2, PHONE 1``."""
    return ", ".join(f"{kind} {count}" for kind, count in sorted(redactions.items()))
