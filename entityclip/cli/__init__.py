"""The command line: one thin command for each stage; ``flows`` and ``bentos`` add theirs. See ``entityclip --help``."""

from __future__ import annotations

import typer

from entityclip.cli import (
    ablate,
    audit,
    backbones,
    blur,
    data,
    distil,
    explain,
    export,
    gate,
    learning_curve,
    model,
    query,
    read,
    score,
    seeds,
    tune,
)
from entityclip.cli.group import Commands

app = typer.Typer(
    cls=Commands,
    help="""Find, tag and match specific things in pictures.

    \b
    From a table and pictures to a first answer:
      entityclip ingest table --path shop/ --to mine --dry-run
      entityclip ingest table --path shop/ --to mine
      entityclip explain mine
      entityclip score mine
      entityclip train --preset photos --data mine --run first
      entityclip calibrate --checkpoint first/checkpoint --data mine
      entityclip evaluate --checkpoint first/checkpoint --data mine
      entityclip tag --checkpoint first/checkpoint --data mine photo.jpg

    Without data of your own, start with: entityclip ingest catalog --to mine

    \b
    Those commands gate, version and release nothing. The whole pipeline does:
      entityclip init shop-search
      entityclip run --source table --source-path shop/ --workspace shop-search

    \b
    Exit codes: 0 done, 1 refused or failed, 2 wrong usage, 3 another run is at work.""",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

for command in (
    data.ingest,
    audit.audit,
    score.score,
    model.train,
    tune.calibrate,
    model.evaluate,
    export.export,
    distil.distil,
    ablate.ablate,
    seeds.seeds,
    learning_curve.learning_curve,
    gate.gate_report,
    tune.tune,
    query.search,
    query.tag,
    read.read,
    blur.blur,
):
    app.command()(command)
app.add_typer(explain.app, name="explain")
app.add_typer(backbones.app, name="backbones")
