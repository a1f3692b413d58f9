"""The champion's service in the foreground, for a container or a supervisor.

``python -m flows.platform.serve --workspace DIR``

Later champions take over in the running service; a restart begins with whoever is champion then.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from bentos.build.package import store_environment
from entityclip.errors import EntityClipError, WorkspaceError
from entityclip.paths import Layout
from flows.steps.deploy_release import ensure_proved, state_of
from flows.workspace.registry import champion


def main(
    workspace: Annotated[Path, typer.Option(help="Git and DVC repository of the releases.")],
    host: Annotated[str, typer.Option(help="Address to listen on; keys are asked for wherever a caller sits.")] = (
        "127.0.0.1"
    ),
    port: Annotated[int, typer.Option(help="Port to listen on.")] = 3000,
) -> None:
    """Become BentoML's server of the champion."""
    layout = Layout(workspace.resolve())
    try:
        release = champion(layout) if layout.rules.exists() else None
        if release is None:
            raise WorkspaceError(f"{layout.root}: no champion yet; python -m flows.retrain makes one")
        ensure_proved(layout, release)
    except EntityClipError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        raise typer.Exit(1) from None
    tag = f"entityclip-service:{release.version}"
    command = [sys.executable, "-P", "-m", "bentoml", "serve", tag, "--host", host, "--port", str(port)]
    state = {"ENTITYCLIP_STATE": str(state_of(layout).root.resolve())}
    os.chdir(layout.bento_home)  # the folder must hold no package that could answer in place of the Bento's own
    os.execve(sys.executable, command, store_environment(layout.bento_home.resolve()) | state)


if __name__ == "__main__":
    typer.run(main)
