"""The audit log of the pages: every change with its time, its author, and what was before and after; JSON lines."""

from __future__ import annotations

import json
import os
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from entityclip.errors import AuditError
from entityclip.storage import private_file


class Reviewer(NamedTuple):
    """Who changes something."""

    name: str
    key: str
    """Id of the API key."""


class AuditLog:
    """Appends to the file at ``path``, which only its owner can read; threads and processes may share it."""

    def __init__(self, path: Path) -> None:
        self.path, self._lock = path, threading.Lock()

    def record(self, who: Reviewer, action: str, about: str, *, before: Any = None, after: Any = None) -> None:
        """Add one change; it is on disk when this returns.

        Args:
            who: Author of the change.
            action: ``decide``, ``undo``, ``judge``, ``approve`` or ``decline``.
            about: Id of the item, or version of the release.
            before: State before the change; None for nothing.
            after: State after the change; None for nothing.

        Raises:
            AuditError: The log cannot be written; the change stays.
        """
        entry = {"at": datetime.now(UTC).isoformat(timespec="milliseconds"), "who": who.name, "key": who.key}
        entry |= {"action": action, "about": about, "before": before, "after": after}
        line = json.dumps(entry, ensure_ascii=False).encode("utf-8", errors="replace") + b"\n"
        try:
            with self._lock:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                private_file(self.path)
                # One write in append mode is one line, also beside another process.
                file = os.open(self.path, os.O_WRONLY | os.O_APPEND)
                try:
                    os.write(file, line)
                    os.fsync(file)
                finally:
                    os.close(file)
        except OSError as error:
            raise AuditError(f"{self.path}: the audit log cannot be written: {error.strerror}") from error
