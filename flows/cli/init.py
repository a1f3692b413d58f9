"""``entityclip init DIR``: a new workspace with a commented settings file, before the first run."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Annotated

import typer


def init(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="New or empty, or with entityclip.yaml alone in it.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object as the last line.")] = False,
) -> None:
    """Make a workspace: a Git and DVC repository with rules for data and a settings file, entityclip.yaml.

    The settings file names every setting with its default and its meaning; one that is there already is kept. Set who
    writes explanations in it, for instance, before the first run. In a workspace that exists, what is missing is added.

    \b
    Example:
      entityclip init shop-search
      editor shop-search/entityclip.yaml
      entityclip run --source table --source-path shop/ --mapping shop.yaml --workspace shop-search
    """
    from entityclip.paths import Layout
    from entityclip.settings import read_config
    from flows.workspace.create import open_workspace

    before = Layout(folder.resolve())
    made, kept = not before.rules.exists(), before.config.exists()
    layout = open_workspace(folder)
    read_config(layout.config)
    typer.echo(f"Workspace: {layout.root} ({'new' if made else 'it was there already'})")
    typer.echo(f"Settings:  {layout.config} ({'kept as it was' if kept else 'every setting with its default'})")
    typer.echo(f"Next:      entityclip run --workspace {shlex.quote(str(layout.root))} --source table ...")
    if as_json:
        answer = {"workspace": str(layout.root), "settings": str(layout.config), "made": made, "kept_settings": kept}
        typer.echo(json.dumps(answer, ensure_ascii=False))
