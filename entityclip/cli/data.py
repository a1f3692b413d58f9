"""The command ``ingest``: reads a source into a folder."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, get_args

import typer

from entityclip.cli.options import Json, Mapping, Products, SourcePath, Workspace
from entityclip.cli.output import last_line, on_terminal, table
from entityclip.cli.validate_paths import replaceable
from entityclip.data import pairs
from entityclip.errors import ConfigError
from entityclip.paths import Layout
from entityclip.schemas import Rejection, Split
from entityclip.storage import read_table

# Commands import inside their functions, since torch takes seconds to import and --help should be fast.
if TYPE_CHECKING:
    from entityclip.data.sources.base import Source

PROBLEMS_SHOWN = 5


def ingest(
    source: Annotated[str, typer.Argument(help="catalog, table (your own), grocery, n24news, visualnews or goodnews.")],
    to: Annotated[Path, typer.Option(metavar="DIR", help="New folder, or one that 'ingest' wrote; it is replaced.")],
    path: SourcePath = None,
    mapping: Mapping = None,
    products: Products = None,
    val_share: Annotated[float, typer.Option(help="Share of pictures for val, for rows without a split.")] = 0.1,
    test_share: Annotated[float, typer.Option(help="Share of pictures for test, for rows without a split.")] = 0.1,
    entity_holdout: Annotated[float, typer.Option(help="Share of entities that are not used for training.")] = 0.0,
    sealed_share: Annotated[
        float, typer.Option(help="Share of pictures that are sealed, for rows without a split.")
    ] = 0.0,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check every row and picture; write nothing.")] = False,
    workspace: Workspace = Path(),
    as_json: Json = False,
) -> None:
    """Read the pictures and texts of a source into DIR.

    Unusable rows are listed with their reasons in DIR/rejected.csv; they are not an error.

    \b
    Example:
      entityclip ingest table --path shop/ --mapping shop.yaml --to mine --dry-run
    """
    from entityclip.data.ingest import ingest as read
    from entityclip.data.sources import SourceOptions, open_source
    from entityclip.data.split_shares import SplitShares

    target = replaceable(to)
    if dry_run and source == "grocery" and path is None:
        raise ConfigError("grocery: a dry run does not download; name the folder of the data set with --path")
    shares = SplitShares.checked(val=val_share, test=test_share, entity_holdout=entity_holdout, sealed=sealed_share)
    seen = on_terminal()
    with _scratch(workspace, dry_run=dry_run) as layout:
        staging = layout.staging if dry_run else target
        options = SourceOptions(source=source, path=path, mapping=mapping, products=products)
        opened = open_source(options, layout=layout, progress=seen)
        if dry_run:
            _show_columns(opened)
        try:
            report = read(opened, staging=staging, rejected=staging.rejected, shares=shares, progress=seen)
        finally:
            _show_problems(staging.rejected)
        counts = pairs.require_complete(staging)
    splits = ", ".join(f"{name} {counts[name]:,}" for name in get_args(Split) if name in counts)
    typer.echo(f"{report.pairs:,} pictures ({splits}) of {report.entities:,} entities; {report.rejected:,} rejected")
    if near := report.near_duplicates.sentence():
        typer.echo(near)
    if dry_run:
        report = report.model_copy(update={"rejected_file": None})
        typer.echo(f"Dry run: nothing was written. Without --dry-run, the result goes to {to}.")
    else:
        if report.rejected:
            typer.echo(f"Reasons: {report.rejected_file}")
        typer.echo(f"Next: entityclip explain {to}")
    last_line(report.model_dump(), as_json)


@contextmanager
def _scratch(workspace: Path, *, dry_run: bool) -> Iterator[Layout]:
    """The workspace; in a dry run a temporary folder."""
    if not dry_run:
        yield Layout(workspace)
        return
    with tempfile.TemporaryDirectory(prefix="entityclip-") as folder:
        yield Layout(Path(folder))


def _show_columns(source: Source) -> None:
    from entityclip.data.sources.shared_pictures import MergedSource
    from entityclip.data.sources.table import TableSource

    if isinstance(source, TableSource | MergedSource):
        table([{"table": t, "column": c, "read as": role or "-"} for t, c, role in source.columns()])
        for name, encoding in source.encodings().items():
            if encoding:
                typer.echo(f"{name} is read as {encoding}")
        typer.echo(f"language of rows that name none: {source.language}")
    typer.echo(f"{len(source):,} rows")


def _show_problems(rejected: Path) -> None:
    """Print the first rejected rows, if any."""
    if rejected.is_file():
        first = read_table(rejected, most=PROBLEMS_SHOWN)
        table([{name: row[name] for name in Rejection.model_fields} for row in first.to_dict("records")])
