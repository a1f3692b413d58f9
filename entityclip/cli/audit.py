"""The command ``audit``: lists what was sent to which host, and checks stored pictures for metadata."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import pandas as pd
import typer

from entityclip.cli.options import Csv, Json, Workspace
from entityclip.cli.output import last_line, table
from entityclip.paths import DataLayout, Layout
from entityclip.storage import write_table

Pictures = Annotated[bool, typer.Option("--pictures", help="Also check every picture in data/ for metadata.")]


def audit(workspace: Workspace = Path(), pictures: Pictures = False, csv: Csv = None, as_json: Json = False) -> None:
    """Show how many texts were sent to each host and model, and how much was redacted.

    The audit log stores the hash and length of each text, not the text; --csv writes one row per text.
    --pictures reads every picture of the current data version and exits with 1 if one contains metadata.

    \b
    Example:
      entityclip audit --workspace shop-search --pictures
    """
    from entityclip.explanations.audit import Sent, read_audit

    ledger = Layout(workspace).ledger
    sent = pd.DataFrame([row.model_dump() for row in read_audit(ledger)], columns=list(Sent.model_fields))
    lines = [_line(str(host), str(model), part) for (host, model), part in sent.groupby(["host", "model"], sort=False)]
    table([line | {"redacted": _formatted(line["redacted"])} for line in lines])
    typer.echo(f"\n{len(sent):,} texts were sent; ledger: {ledger}")
    if csv is not None:
        write_table(csv, sent.assign(redactions=sent["redactions"].map(_formatted)))
        typer.echo(f"All rows: {csv}")
    checked = _checked(Layout(workspace).data) if pictures else {}
    last_line({"sent": len(sent), "destinations": lines, **checked}, as_json)
    if checked.get("with_metadata"):
        raise typer.Exit(1)


def _checked(data: DataLayout) -> dict[str, Any]:
    """Number of pictures, and number of those that contain metadata."""
    from entityclip.data import pairs
    from entityclip.data.images import strip_metadata

    pairs.require_complete(data)
    found, count = [], 0
    for row in pairs.iter_rows(data.pairs, columns=["pair_id", "image"]):
        count += 1
        if strip_metadata(row["image"]["bytes"]) != row["image"]["bytes"]:
            found.append(row["pair_id"])
    typer.echo(f"{count:,} pictures in {data.root}: {len(found):,} contain metadata")
    if found:
        typer.echo(f"First: pair {found[0]}. Ingest the source again to remove the metadata.")
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


def _formatted(redactions: dict[str, int]) -> str:
    """Such as ``EMAIL 2, PHONE 1``."""
    return ", ".join(f"{kind} {count}" for kind, count in sorted(redactions.items()))
