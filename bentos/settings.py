"""Settings of a running service, from environment variables. All others are fixed when the Bento is built."""

from __future__ import annotations

import os
from pathlib import Path
from typing import get_args

from entityclip.errors import ConfigError
from entityclip.paths import StateLayout
from entityclip.schemas import Runtime

MAX_CONCURRENCY = 64
"""Concurrent requests per worker. Each holds a thread that mostly waits for the next batch. A request above this limit
gets 503 with Retry-After, so that the accepted ones end in time.
"""

SECONDS = 30
"""Timeout of a request."""


def _workers() -> int:
    text = os.environ.get("ENTITYCLIP_WORKERS", "1")
    if not text.isdecimal() or not 1 <= int(text) <= 64:
        raise ConfigError(f"ENTITYCLIP_WORKERS is {text!r}; expected a number of processes, 1 to 64")
    return int(text)


WORKERS = _workers()
"""Number of worker processes; each holds the model in memory (``ENTITYCLIP_WORKERS``)."""


def _runtime() -> Runtime:
    text = os.environ.get("ENTITYCLIP_RUNTIME", "torch")
    for known in get_args(Runtime):
        if text == known:
            return known
    raise ConfigError(f"ENTITYCLIP_RUNTIME is {text!r}; expected one of {', '.join(get_args(Runtime))}")


RUNTIME = _runtime()
"""Runtime of the towers (``ENTITYCLIP_RUNTIME``)."""


def _read_seconds() -> float:
    text = os.environ.get("ENTITYCLIP_READ_SECONDS", "3")
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < SECONDS:
        raise ConfigError(f"ENTITYCLIP_READ_SECONDS is {text!r}; expected seconds, more than 0 and less than {SECONDS}")
    return seconds


READ_SECONDS = _read_seconds()
"""How long a request waits for the reader of labels; then it is answered without (``ENTITYCLIP_READ_SECONDS``)."""


def _review_url() -> str:
    text = os.environ.get("ENTITYCLIP_REVIEW_URL", "").rstrip("/")
    if text and not text.startswith(("http://", "https://")):
        raise ConfigError(f"ENTITYCLIP_REVIEW_URL is {text!r}; expected an address such as https://review.example")
    return text


REVIEW_URL = _review_url()
"""Address of the review pages, to which the pages of the service link (``ENTITYCLIP_REVIEW_URL``); '' for no link."""


def state() -> StateLayout | None:
    """State folder (``ENTITYCLIP_STATE``) with keys, feedback and the active release; None if it is not set."""
    folder = os.environ.get("ENTITYCLIP_STATE")
    return StateLayout(Path(folder)) if folder else None


def keyless() -> bool:
    """Whether ``ENTITYCLIP_KEYLESS=local`` lets callers on this machine in without a key if there is no state folder.

    Raises:
        ConfigError: The variable has another value.
    """
    text = os.environ.get("ENTITYCLIP_KEYLESS", "")
    if text not in ("", "local"):
        raise ConfigError(f"ENTITYCLIP_KEYLESS is {text!r}; expected 'local', or unset if every caller needs a key")
    return text == "local"
