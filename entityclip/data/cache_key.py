"""What a result is made from, part by part: the hash of all parts is its key, and a change can be named."""

from __future__ import annotations

import json

from pydantic import Field

from entityclip.data.pairs import digest
from entityclip.schemas import Record


class Inputs(Record):
    """Everything that decides a result; kept beside it."""

    parts: dict[str, str] = Field(description="What it is, in words for people -> its hash or value.")

    @property
    def key(self) -> str:
        """The same for the same parts."""
        return digest(json.dumps(self.parts, sort_keys=True))

    def changes(self, before: Inputs | None) -> str:
        """Which parts are other ones than before, in words; empty where none is."""
        if before is None:
            return "nothing was made here before"
        names = [*self.parts, *(name for name in before.parts if name not in self.parts)]
        return "; ".join(_change(n, before.parts.get(n), self.parts.get(n)) for n in names if self._other(n, before))

    def _other(self, name: str, before: Inputs) -> bool:
        return self.parts.get(name) != before.parts.get(name)


def _change(name: str, before: str | None, now: str | None) -> str:
    """Values that fit are shown; of hashes the first letters are enough."""
    return f"{name} changed ({_short(before)} -> {_short(now)})"


def _short(value: str | None) -> str:
    if value is None:
        return "none"
    return value if len(value) <= 24 else f"{value[:12]}..."
