"""Texts that the gate set aside, to a person and back: ``review export`` and ``review import``."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Annotated

import typer

from entityclip.cli.options import Json, Workspace
from entityclip.cli.output import last_line
from entityclip.paths import DataLayout, Layout, ReviewLayout

app = typer.Typer(no_args_is_help=True, help="Texts that the gate set aside: hand them out, take decisions back.")


@app.command("export")
def export(
    quarantine: Annotated[Path, typer.Argument(metavar="FILE", help="quarantine.csv, as the run has named it.")],
    to: Annotated[Path, typer.Option(metavar="DIR", help="New folder for the sheet and the page with pictures.")],
    workspace: Workspace = Path(),
    data: Annotated[
        Path | None, typer.Option(metavar="DIR", help="What FILE is about, where it is not the workspace's staging.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Write DIR/review.csv to fill in and DIR/review.html to look at: one row a text, with the rule that it broke."""
    from entityclip.quality.review import hand_out, read_reviews

    layout, folder = Layout(workspace), ReviewLayout(to)
    decided = {review.explanation_id for review in read_reviews(layout.reviews)}
    source = layout.staging if data is None else DataLayout(data)
    count = hand_out(quarantine, data=source, to=folder, decided=decided)
    typer.echo(f"{count:,} texts. Look at {folder.page}, fill in {folder.sheet}, then:")
    typer.echo(f"  entityclip review import {to} --workspace {workspace} --reviewer NAME")
    last_line({"texts": count, "sheet": str(folder.sheet), "page": str(folder.page)}, as_json)


@app.command("import")
def take(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder that 'review export' wrote, filled in.")],
    reviewer: Annotated[str, typer.Option(help="Who decided.")],
    workspace: Workspace = Path(),
    overrule: Annotated[bool, typer.Option("--overrule", help="Decisions that differ from earlier ones hold.")] = False,
    as_json: Json = False,
) -> None:
    """Keep the decisions in the workspace's reports/reviews.csv. They take effect in the next run of the main job.

    A row that is wrong is named, and nothing is kept then. A row that was left empty goes on waiting.
    """
    from entityclip.quality.review import add_reviews, take_back

    layout = Layout(workspace)
    reviews = take_back(ReviewLayout(folder), reviewer=reviewer)
    changed = add_reviews(layout.reviews, reviews, overrule=overrule)
    counts = Counter(review.decision for review in reviews)
    said = ", ".join(f"{count} {decision}" for decision, count in counts.items()) or "nothing was decided"
    minutes = sum(review.minutes for review in reviews)
    typer.echo(f"{said}; {minutes:g} minutes; {changed} new or changed in {layout.reviews}")
    last_line({"decisions": dict(counts), "minutes": minutes, "changed": changed}, as_json)
