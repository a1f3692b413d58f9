"""The command line: one thin command for each stage that needs no workspace. See ``entityclip --help``."""

from __future__ import annotations

from typing import Any

import typer
from typer.core import TyperGroup

from entityclip.cli import ablate, audit, data, explain, export, gate, model, query, review, score, tune
from entityclip.cli.contributed import contributed, load
from entityclip.errors import EntityClipError


class _PlainErrors(TyperGroup):
    """Commands whose errors are one line on standard error and exit code 1; anything else is a bug and shows itself.

    Commands that installed packages contribute stand before those of the domain: a first user begins with ``init``.
    """

    def list_commands(self, ctx: Any) -> list[str]:
        own = super().list_commands(ctx)
        return [*(name for name in contributed() if name not in own), *own]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        own = super().get_command(ctx, cmd_name)
        point = contributed().get(cmd_name)
        return load(point) if own is None and point is not None else own

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except BrokenPipeError:  # the reader of our output, say `head`, has seen enough
            raise
        except (EntityClipError, OSError) as error:
            message = "; ".join(line.strip() for line in str(error).splitlines())
            typer.echo(f"{type(error).__name__}: {message}", err=True)
            raise typer.Exit(1) from None


app = typer.Typer(
    cls=_PlainErrors,
    help="""Find, tag and match specific things in pictures.

    \b
    From a table and pictures to a first answer:
      entityclip ingest table --path shop/ --to mine --dry-run
      entityclip ingest table --path shop/ --to mine
      entityclip explain mine
      entityclip score mine
      entityclip train --preset table --data mine --run first
      entityclip calibrate --checkpoint first/checkpoint --data mine
      entityclip evaluate --checkpoint first/checkpoint --data mine
      entityclip tag --checkpoint first/checkpoint --data mine photo.jpg

    Without data of your own, start with: entityclip ingest catalog --to mine

    \b
    Those commands gate, version and release nothing. The main job does:
      entityclip init shop-search
      python -m flows.retrain --help""",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

for command in (
    data.ingest,
    explain.explain,
    audit.audit,
    score.score,
    model.train,
    tune.calibrate,
    model.evaluate,
    export.export,
    ablate.ablate,
    gate.gate_report,
    tune.tune,
    query.search,
    query.tag,
):
    app.command()(command)
app.add_typer(review.app, name="review")
