"""The command ``explain``: writes explanations of entities. Other packages add subcommands, such as ``compare``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from entityclip.cli.contributed import GROUP
from entityclip.cli.group import Extensible
from entityclip.cli.options import Json, Workspace
from entityclip.cli.output import last_line, on_terminal
from entityclip.data import pairs
from entityclip.data.rights import read_rights
from entityclip.paths import DataLayout, Layout

if TYPE_CHECKING:
    from entityclip.explanations import Writer

_DEFAULT = "write"


class ExplainCommands(Extensible):
    """``explain DIR`` stands for ``explain write DIR``."""

    entry_points = f"{GROUP}.explain"

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Add the name of the default command where the first word is not that of another."""
        named = bool(args) and args[0] in self.list_commands(ctx)
        return super().parse_args(ctx, args if named else [_DEFAULT, *args])


app = typer.Typer(cls=ExplainCommands, help="Write explanations of entities, or compare writers.")


@app.command(_DEFAULT)
def explain(
    folder: Annotated[
        Path | None,
        typer.Argument(
            metavar="DIR",
            help="Folder that 'ingest' wrote; with --write-examples or --dry-run, by default that of the workspace.",
        ),
    ] = None,
    writer: Annotated[
        Literal["source", "transformers", "openai"] | None,
        typer.Option(help="Texts of the source, a model on this machine, or a model on a server."),
    ] = None,
    model: Annotated[str | None, typer.Option(help="Folder of the model, or its name on the server.")] = None,
    base_url: Annotated[
        str | None, typer.Option(help="Base URL of the server, such as http://127.0.0.1:8000/v1.")
    ] = None,
    config: Annotated[
        Path | None, typer.Option(metavar="FILE", help="YAML file with settings of the writer: docs/explanations.md.")
    ] = None,
    budget_tokens: Annotated[int | None, typer.Option(help="Token budget of this run, for openai.")] = None,
    budget_money: Annotated[
        float | None, typer.Option(help="Cost budget of this run, by the configured prices.")
    ] = None,
    again: Annotated[bool, typer.Option("--again", help="Repeat requests whose earlier answer was rejected.")] = False,
    write_examples: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Only write examples for a base model, from texts of the source, to FILE."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Estimate the cost; send no request.")] = False,
    workspace: Workspace = Path(),
    as_json: Json = False,
) -> None:
    """Write explanations of the entities in DIR.

    By default, entityclip.yaml of the workspace names the writer; without one, the texts of the source are used.
    The ledger stores every answer, so that no request is paid for twice. 'entityclip explain compare' compares writers.

    \b
    Example:
      entityclip explain mine
      entityclip explain write mine
      entityclip explain mine --dry-run
      entityclip explain --workspace shop-search --write-examples examples.yaml
    """
    if folder is None and write_examples is None and not dry_run:
        raise typer.BadParameter("name the folder that 'ingest' wrote; a workspace's own data are written by 'run'")
    layout = Layout(workspace)
    data = layout.staging if folder is None else DataLayout(folder)
    if write_examples is not None:
        _write_examples(data, layout, write_examples, as_json=as_json)
        return
    given: dict[str, Any] = {"writer": writer, "model": model, "base_url": base_url}
    given |= {"budget_tokens": budget_tokens, "budget_money": budget_money}
    opened = _writer(layout, config, {name: value for name, value in given.items() if value is not None})
    if dry_run:
        _show_estimate(data, opened, layout, again=again, as_json=as_json)
        return
    _write(data, opened, layout, again=again, as_json=as_json)


def _write(data: DataLayout, writer: Writer, layout: Layout, *, again: bool, as_json: bool) -> None:
    """Write the explanations; print how many, and why replies were rejected."""
    from entityclip.explanations import Requests, rejections
    from entityclip.explanations import explain as write

    rights = read_rights(layout.pairs_suite)
    count = write(data, writer=writer, ledger=layout.ledger, rights=rights, progress=on_terminal(), again=again)
    entities = len(pairs.read_frame(data.entities, columns=["entity_id"]))
    covered = pairs.read_frame(data.explanations, columns=["entity_id"])["entity_id"].nunique()
    typer.echo(f"{count:,} explanations of {covered:,} of {entities:,} entities; ledger: {layout.ledger}")
    rejected = rejections(
        Requests(data, pictures=writer.sees_pictures, rights=rights), writer=writer, ledger=layout.ledger
    )
    if rejected:
        typer.echo(f"{rejected.total():,} replies rejected, which --again requests again:")
        for why, times in rejected.most_common():
            typer.echo(f"  {times:,} x {why}")
    typer.echo(f"Next: entityclip score {data.root}")
    found = {"explanations": count, "explained": covered, "entities": entities, "rejected": dict(rejected)}
    last_line(found, as_json)


def _writer(layout: Layout, config: Path | None, given: dict[str, Any]) -> Writer:
    """The writer by file or workspace; command-line options override its settings."""
    from entityclip.explanations import open_writer, read_writer_settings, writer_config
    from entityclip.settings import read_config

    if config is not None:
        settings, origin = read_writer_settings(config), str(config)
    else:
        known = read_config(layout.config).explain
        settings, origin = {"writer": known.writer, **known.model_dump(exclude_unset=True)}, str(layout.config)
    if given.get("writer", settings.get("writer")) != settings.get("writer"):
        settings = {}  # they belong to another writer
    origin = f"{origin} and the command line" if given else origin
    return open_writer(writer_config({**settings, **given}, origin=origin), ledger=layout.ledger)


def _write_examples(data: DataLayout, layout: Layout, path: Path, *, as_json: bool) -> None:
    """Examples for ``few_shot``, from the texts of the source."""
    from entityclip.explanations import Requests
    from entityclip.explanations.few_shot import write_examples

    pairs.require_complete(data)
    found = write_examples(path, Requests(data, rights=read_rights(layout.pairs_suite)))
    counts = ", ".join(f"{count} in {language}" for language, count in found.items())
    typer.echo(f"{path}: {counts}; read them, then set few_shot to this file")
    last_line({"examples": found, "file": str(path)}, as_json)


def _show_estimate(data: DataLayout, writer: Writer, layout: Layout, *, again: bool, as_json: bool) -> None:
    from entityclip.explanations import estimate

    rights = read_rights(layout.pairs_suite)
    estimated = estimate(data, writer=writer, ledger=layout.ledger, rights=rights, again=again)
    cost = estimated.cost
    typer.echo(
        f"{estimated.requests:,} requests to {writer.generator}; the ledger holds {estimated.known:,} of the answers."
    )
    typer.echo(
        f"Estimate for the others: {cost.tokens_in:,} input tokens, at most {cost.tokens_out:,} output tokens"
        f"{f', cost at most {cost.money:,.2f}' if cost.money else ''}; repairs not included. No request was sent."
    )
    last_line(estimated.model_dump(), as_json)
