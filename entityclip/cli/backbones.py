"""The commands ``backbones list``, ``backbones check`` and ``backbones recipe``."""

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

app = typer.Typer(no_args_is_help=True, help="Pretrained towers: list them, check their files, show how to get them.")

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
        rows.append(backbone.model_dump() | {"megabytes": backbone.megabytes, "at_hand": here is not None})
    table([_line(row) for row in rows], decimals=1)
    typer.echo()
    for row in rows:
        typer.echo(f"{row['name']}: {row['good_for']}" + (f" ({row['terms']})" if row["terms"] else ""))
    chosen = best_at_hand(config, Task())
    typer.echo(f"\n{chosen.message}")
    last_line({"backbones": rows, "chosen": chosen.name}, as_json)


def _line(row: dict[str, Any]) -> dict[str, Any]:
    """What the table on a terminal shows of a backbone."""
    shown = ("name", "kind", "licence", "languages", "parameters", "megabytes", "size", "at_hand")
    return {name: row[name] or "" for name in shown} | {
        "languages": ",".join(row["languages"]),
        "at_hand": row["at_hand"],
    }


@app.command()
def check(
    name: Annotated[str, typer.Argument(metavar="NAME_OR_PATH", help="Backbone, or a file or folder of weights.")],
    picture: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Picture to embed; default: a drawn one.")
    ] = None,
    workspace: Settings = Path(),
    as_json: Json = False,
) -> None:
    """Load a backbone strictly by name and shape, embed a picture, and show what fits and what starts at random.

    \b
    Example:
      entityclip backbones check efficientnet-lite0
    """
    from entityclip.data.images import decode
    from entityclip.model.backbones.check import check as load

    image = decode(picture.read_bytes(), suffix=picture.suffix) if picture is not None else None
    found = load(name, _config(workspace), picture=image)
    known = "the one of the table" if found.known else "no other one is known to compare with"
    typer.echo(f"{found.name}: {found.loaded} tensors loaded, every name and shape fits")
    typer.echo(f"File: {found.file}\nSHA-256: {found.sha256} ({known})")
    typer.echo(f"Licence: {found.licence or 'not known here; read the files'}")
    typer.echo(f"Fresh: {', '.join(found.fresh) or 'nothing'}")
    typer.echo(f"From scratch: {', '.join(found.from_scratch) or 'no tower'}")
    typer.echo(f"A picture of {found.size} pixels gives a vector of {found.dim}, in {found.picture_ms:g} ms")
    last_line(found.model_dump(mode="json"), as_json)


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
