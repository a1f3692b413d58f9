"""The commands ``review export`` and ``review import`` for texts that the gate quarantined."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Annotated

import typer

from entityclip.cli.options import Json, Workspace
from entityclip.cli.output import last_line
from entityclip.paths import DataLayout, Layout, ReviewLayout

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Review texts that the gate quarantined: in a browser, or as a CSV file.",
)


@app.command("export")
def export(
    quarantine: Annotated[
        Path, typer.Argument(metavar="FILE", help="quarantine.csv of a run; the run prints its path.")
    ],
    to: Annotated[Path, typer.Option(metavar="DIR", help="New folder for the sheet and the page with pictures.")],
    workspace: Workspace = Path(),
    data: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Data that FILE refers to; default: staging of the workspace.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Write DIR/review.csv to fill in and DIR/review.html with pictures: one row per text, with the broken rule.

    \b
    Example:
      entityclip review export quarantine.csv --to sheet --workspace shop-search
    """
    from entityclip.quality.review import export_review, read_reviews

    layout, folder = Layout(workspace), ReviewLayout(to)
    decided = {review.explanation_id for review in read_reviews(layout.reviews)}
    source = layout.staging if data is None else DataLayout(data)
    count = export_review(quarantine, data=source, to=folder, decided=decided)
    typer.echo(f"{count:,} texts. Open {folder.page}, fill in {folder.sheet}, then run:")
    typer.echo(f"  entityclip review import {to} --workspace {workspace} --reviewer NAME")
    last_line({"texts": count, "sheet": str(folder.sheet), "page": str(folder.page)}, as_json)


@app.command("import")
def take(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder that 'review export' wrote, filled in.")],
    reviewer: Annotated[str, typer.Option(help="Name of the reviewer.")],
    workspace: Workspace = Path(),
    overrule: Annotated[bool, typer.Option("--overrule", help="Replace earlier decisions that differ.")] = False,
    as_json: Json = False,
) -> None:
    """Store the decisions in reports/reviews.csv of the workspace. The next run of the main job applies them.

    If a row is invalid, the error names it and nothing is stored. Rows without a decision stay open.

    \b
    Example:
      entityclip review import sheet --workspace shop-search --reviewer Hanako
    """
    from entityclip.quality.review import add_reviews, import_review

    layout = Layout(workspace)
    reviews = import_review(ReviewLayout(folder), reviewer=reviewer)
    changed = add_reviews(layout.reviews, reviews, overrule=overrule)
    counts = Counter(review.decision for review in reviews)
    decided = ", ".join(f"{count} {decision}" for decision, count in counts.items()) or "nothing was decided"
    minutes = sum(review.minutes for review in reviews)
    typer.echo(f"{decided}; {minutes:g} minutes; {changed} new or changed in {layout.reviews}")
    last_line({"decisions": dict(counts), "minutes": minutes, "changed": changed}, as_json)
