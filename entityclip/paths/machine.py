"""Paths that all workspaces of one user on one machine share."""

from __future__ import annotations

import os
from pathlib import Path


def lease(device: str) -> Path:
    """Held by the one training that is at work on this device, like ``cpu`` or ``cuda-0``.

    ``ENTITYCLIP_LEASES`` names another folder, say one that all users of a machine can write. Never a folder of
    temporary files: a cleaner that deletes the file of a lock lets a second holder in.
    """
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    folder = os.environ.get("ENTITYCLIP_LEASES") or Path(cache) / "entityclip" / "leases"
    return Path(folder) / device
