"""What was sent to whom, and what stored pictures carry: ``audit``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import pandas as pd
import typer

from entityclip.cli.options import Csv, Json, Workspace
from entityclip.cli.output import last_line, table
from entityclip.paths import DataLayout, Layout
from entityclip.storage import write_table

Pictures = Annotated[bool, typer.Option("--pictures", help="Check every picture in data/ for metadata as well.")]


def audit(workspace: Workspace = Path(), pictures: Pictures = False, csv: Csv = None, as_json: Json = False) -> None:
    """Show how many texts were sent to which host and model, and what was taken out of them first.

    The texts themselves are not kept, only their hash and length; --csv lists them one by one.
    --pictures reads every picture of the current data version and exits with 1 if one holds metadata.
    """
    from entityclip.explanations.audit import Sent, read_audit

    ledger = Layout(workspace).ledger
    sent = pd.DataFrame([row.model_dump() for row in read_audit(ledger)], columns=list(Sent.model_fields))
    lines = [_line(str(host), str(model), part) for (host, model), part in sent.groupby(["host", "model"], sort=False)]
    table([line | {"redacted": _said(line["redacted"])} for line in lines])
    typer.echo(f"\n{len(sent):,} texts were sent; ledger: {ledger}")
    if csv is not None:
        write_table(csv, sent.assign(redactions=sent["redactions"].map(_said)))
        typer.echo(f"Each of them: {csv}")
    checked = _checked(Layout(workspace).data) if pictures else {}
    last_line({"sent": len(sent), "destinations": lines, **checked}, as_json)
    if checked.get("with_metadata"):
        raise typer.Exit(1)


def _checked(data: DataLayout) -> dict[str, Any]:
    """How many pictures there are, and which of them hold more than pixels."""
    from entityclip.data import pairs
    from entityclip.data.images import strip_metadata

    pairs.require_complete(data)
    found, count = [], 0
    for row in pairs.iter_rows(data.pairs, columns=["pair_id", "image"]):
        count += 1
        if strip_metadata(row["image"]["bytes"]) != row["image"]["bytes"]:
            found.append(row["pair_id"])
    typer.echo(f"{count:,} pictures in {data.root}: {len(found):,} hold metadata")
    if found:
        typer.echo(f"Ingest the source again, which strips them; the first: pair {found[0]}")
    return {"pictures": count, "with_metadata": len(found)}


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
