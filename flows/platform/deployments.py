"""Registers the deployments of ``prefect.yaml`` on a Prefect server.

``entityclip deploy --workspace DIR``

It uses the server of ``PREFECT_API_URL``. ``flows.platform.local_stack`` does the same for its own server.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import flows
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


def deploy(layout: Layout) -> None:
    """Replace this process by Prefect's own, which deploys every flow with the workspace's time zone."""
    environment = os.environ | placeholders(layout)
    os.chdir(HOME)
    os.execve(sys.executable, [sys.executable, "-m", "prefect", *COMMAND], environment)
