"""Give the deployments of ``prefect.yaml`` to a Prefect server.

``python -m flows.platform.deployments --workspace DIR``

The server is the one of ``PREFECT_API_URL``. ``flows.platform.local_stack`` does the same for a server of its own.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

import flows
from entityclip.errors import EntityClipError
from entityclip.paths import Layout
from entityclip.settings import read_config

HOME = Path(flows.__file__).resolve().parent.parent
"""Folder of ``prefect.yaml``."""
COMMAND = ("--no-prompt", "deploy", "--all")


def placeholders(layout: Layout) -> dict[str, str]:
    """The environment variables that ``prefect.yaml`` names.

    Raises:
        ConfigError: The workspace's settings cannot be read.
    """
    return {
        "ENTITYCLIP_HOME": str(HOME),
        "ENTITYCLIP_WORKSPACE": str(layout.root),
        "ENTITYCLIP_TIMEZONE": read_config(layout.config).runs.timezone,
    }


def main(workspace: Annotated[Path, typer.Option(help="Workspace that the deployments run in.")]) -> None:
    """Deploy every flow, with the workspace's time zone for the schedules."""
    try:
        environment = os.environ | placeholders(Layout(workspace.resolve()))
    except EntityClipError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        raise typer.Exit(1) from None
    os.chdir(HOME)
    os.execve(sys.executable, [sys.executable, "-m", "prefect", *COMMAND], environment)


if __name__ == "__main__":
    typer.run(main)
