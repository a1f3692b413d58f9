"""The inputs of a result: the hash of all parts is its cache key, and changed parts can be listed."""

from __future__ import annotations

import json

from pydantic import Field

from entityclip.data.pairs import digest
from entityclip.schemas import Record


class Inputs(Record):
    """Everything that a result depends on; stored beside it."""

    parts: dict[str, str] = Field(description="Name of the input, for people -> its hash or value.")

    @property
    def key(self) -> str:
        """Hash of the parts."""
        return digest(json.dumps(self.parts, sort_keys=True))

    def changes(self, before: Inputs | None) -> str:
        """The changed parts in words; empty if nothing changed."""
        if before is None:
            return "nothing was made here before"
        names = [*self.parts, *(name for name in before.parts if name not in self.parts)]
        return "; ".join(_change(n, before.parts.get(n), self.parts.get(n)) for n in names if self._differs(n, before))

    def _differs(self, name: str, before: Inputs) -> bool:
        return self.parts.get(name) != before.parts.get(name)


def _change(name: str, before: str | None, now: str | None) -> str:
    """The change in words; long hashes are shortened."""
    return f"{name} changed ({_short(before)} -> {_short(now)})"


def _short(value: str | None) -> str:
    if value is None:
        return "none"
    return value if len(value) <= 24 else f"{value[:12]}..."
