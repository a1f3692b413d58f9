"""What the environment says about a running service. Everything else is decided when a Bento is built."""

from __future__ import annotations

import os
from pathlib import Path
from typing import get_args

from entityclip.errors import ConfigError
from entityclip.paths import StateLayout
from entityclip.schemas import Runtime

AT_ONCE = 64
"""Requests in work per worker, each in a thread that mostly waits for the next batch: a full one is cheapest. The next
request is told to come again, so that those inside end in time.
"""

SECONDS = 30
"""Until a request is given up."""


def _workers() -> int:
    text = os.environ.get("ENTITYCLIP_WORKERS", "1")
    if not text.isdecimal() or not 1 <= int(text) <= 64:
        raise ConfigError(f"ENTITYCLIP_WORKERS is {text!r}; expected a number of processes, 1 to 64")
    return int(text)


WORKERS = _workers()
"""Processes, each with the model in its memory (``ENTITYCLIP_WORKERS``)."""


def _runtime() -> Runtime:
    text = os.environ.get("ENTITYCLIP_RUNTIME", "torch")
    for known in get_args(Runtime):
        if text == known:
            return known
    raise ConfigError(f"ENTITYCLIP_RUNTIME is {text!r}; expected one of {', '.join(get_args(Runtime))}")


RUNTIME = _runtime()
"""What the towers run on (``ENTITYCLIP_RUNTIME``)."""


def state() -> StateLayout | None:
    """The folder that ``ENTITYCLIP_STATE`` names: keys, feedback, which release answers; None without one."""
    folder = os.environ.get("ENTITYCLIP_STATE")
    return StateLayout(Path(folder)) if folder else None


def keyless() -> bool:
    """Whether callers on this machine need no key, where there is no state folder: ``ENTITYCLIP_KEYLESS=local``.

    Raises:
        ConfigError: The variable has another value.
    """
    text = os.environ.get("ENTITYCLIP_KEYLESS", "")
    if text not in ("", "local"):
        raise ConfigError(
            f"ENTITYCLIP_KEYLESS is {text!r}; expected 'local', or nothing where every caller needs a key"
        )
    return text == "local"
