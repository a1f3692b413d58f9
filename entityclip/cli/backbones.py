"""The commands ``backbones list`` and ``backbones recipe``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from entityclip.cli.options import Json
from entityclip.cli.output import last_line, table
from entityclip.errors import ConfigError
from entityclip.paths import Layout

if TYPE_CHECKING:
    from entityclip.model.backbones import BackboneConfig

app = typer.Typer(no_args_is_help=True, help="Pretrained towers: list them, show how to get them.")

Settings = Annotated[
    Path, typer.Option("--workspace", metavar="DIR", help="Workspace whose entityclip.yaml names folders and licences.")
]


@app.command("list")
def list_(workspace: Settings = Path(), as_json: Json = False) -> None:
    """List the backbones: licence, languages, size, and whether this machine has them.

    \b
    Example:
      entityclip backbones list
    """
    from entityclip.model.backbones import BACKBONES, Task, at_hand, best_at_hand

    config = _config(workspace)
    rows: list[dict[str, Any]] = []
    for backbone in BACKBONES.values():
        here = at_hand(backbone, folders=config.folders)
        rows.append(backbone.model_dump() | {"at_hand": here is not None})
    shown = ("name", "kind", "licence", "commercial", "parameters", "megabytes", "size", "at_hand")
    table([{name: row[name] if row[name] is not None else "" for name in shown} for row in rows], decimals=1)
    chosen = best_at_hand(config, Task())
    typer.echo(f"\n{chosen.message}")
    last_line({"backbones": rows, "chosen": chosen.name}, as_json)


@app.command()
def recipe(name: Annotated[str, typer.Argument(help="Name of a backbone.")], as_json: Json = False) -> None:
    """Print how to get a backbone onto a machine without a network: commands, files, hashes, settings.

    \b
    Example:
      entityclip backbones recipe efficientnet-lite0
    """
    from entityclip.model.backbones import BACKBONES
    from entityclip.model.backbones.recipe import recipe as steps

    if name not in BACKBONES:
        raise ConfigError(f"backbone {name!r} is unknown; known are {', '.join(BACKBONES)}")
    text = steps(BACKBONES[name])
    typer.echo(text)
    last_line({"name": name, "recipe": text}, as_json)


def _config(workspace: Path) -> BackboneConfig:
    from entityclip.settings import read_config

    return read_config(Layout(workspace).config).backbones
