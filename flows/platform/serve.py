"""The champion's service in the foreground, for a container or a supervisor.

``entityclip serve --workspace DIR``

The running service switches to later champions; a restart begins with the current champion.
"""

from __future__ import annotations

import os
import sys

from bentos.build.package import store_environment
from entityclip.errors import WorkspaceError
from entityclip.paths import Layout
from flows.steps.deploy_release import ensure_smoke_tested, state_of
from flows.workspace.registry import champion


def serve(layout: Layout, *, host: str, port: int) -> None:
    """Replace this process by BentoML's server of the champion.

    Raises:
        WorkspaceError: There is no champion yet.
    """
    release = champion(layout) if layout.rules.exists() else None
    if release is None:
        raise WorkspaceError(f"{layout.root}: no champion yet; entityclip run --workspace {layout.root} makes one")
    ensure_smoke_tested(layout, release)
    tag = f"entityclip-service:{release.version}"
    command = [sys.executable, "-P", "-m", "bentoml", "serve", tag, "--host", host, "--port", str(port)]
    state = {"ENTITYCLIP_STATE": str(state_of(layout).root.resolve())}
    os.chdir(layout.bento_home)  # a folder without packages that could shadow the Bento's own
    os.execve(sys.executable, command, store_environment(layout.bento_home.resolve()) | state)
