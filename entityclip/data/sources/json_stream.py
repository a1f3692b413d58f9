"""Reads large JSON files, one list or one object, member by member.

``json.load`` would hold the whole text and every value in memory, about four times the size of the file.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from entityclip.data.sources.table_files import Table
from entityclip.errors import SourceError

CHUNK = 2**20
"""Characters read at a time."""

LONGEST = 2**24
"""Maximum length of a member in characters; a longer one has an unclosed quote or bracket."""

# Numbers stay text, as in every table: "1E5" is a model number, and 5,000 digits are more than Python converts.
_DECODER = json.JSONDecoder(parse_int=str, parse_float=str, parse_constant=str)
_SPACE = re.compile(r"[ \t\r\n]*")


class JsonList(Table):
    """A JSON file that is one list of objects; the columns are all keys that occur.

    Raises:
        SourceError: The file is not one whole JSON list in UTF-8.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        columns: dict[str, None] = {}
        self._count = 0
        for record in self._records():
            self._count += 1
            if not isinstance(record, str):
                columns.update(dict.fromkeys(record))
        self.columns = tuple(columns)

    def __len__(self) -> int:
        return self._count

    def _records(self) -> Iterator[Mapping[str, Any] | str]:
        with _opened(self.path) as text:
            for _ in text.members("[", "]"):
                value = text.value()
                yield value if isinstance(value, dict) else f"expected a JSON object, found {kind(value)}"


def json_object(path: Path) -> Iterator[tuple[str, Any]]:
    """Keys and values of a JSON file with one object; a key may be repeated.

    Raises:
        SourceError: The file is not one whole JSON object in UTF-8.
    """
    with _opened(path) as text:
        for _ in text.members("{", "}"):
            if text.sign() != '"':
                raise text.refused("expected a key in quotes")
            key: str = text.value()
            text.require(":")
            yield key, text.value()


def kind(value: Any) -> str:
    """The JSON type of a value; numbers are read as text."""
    return {"NoneType": "null", "dict": "an object", "list": "a list", "bool": "true or false"}.get(
        type(value).__name__, "a text or number"
    )


# ---------------------------------------------------------------- reading as far as needed
@contextmanager
def _opened(path: Path) -> Iterator[_JsonReader]:
    try:
        with path.open(encoding="utf-8-sig") as stream:
            yield _JsonReader(path, stream)
    except UnicodeDecodeError as error:
        raise SourceError(f"{path}: not UTF-8 ({error.reason}); fetch the file again") from None
    except OSError as error:
        raise SourceError(f"{path}: cannot be read: {error.strerror}") from None


class _JsonReader:
    """Reads a JSON file; holds one chunk or one member in memory."""

    def __init__(self, path: Path, stream: TextIO) -> None:
        self._path, self._stream = path, stream
        self._held, self._at, self._passed = "", 0, 0  # the chunk, the place in it, characters before it

    def members(self, opening: str, closing: str) -> Iterator[None]:
        """Yield before every member; the caller must read the member before it continues."""
        self.require(opening)
        more = self.sign() != closing
        while more:
            yield
            more = self.sign() == ","
            if more:
                self._at += 1
        self.require(closing)
        if self.sign():
            raise self.refused(f"there is more after the closing {closing}")

    def sign(self) -> str:
        """The next non-space character, without consuming it; empty at the end."""
        while True:
            found = _SPACE.match(self._held, self._at)
            self._at = found.end() if found else self._at
            if self._at < len(self._held):
                return self._held[self._at]
            if not self._read():
                return ""

    def require(self, sign: str) -> None:
        """Consume ``sign``."""
        if self.sign() != sign:
            raise self.refused(f"expected {sign}" + ("" if self.sign() else ", but the file ends"))
        self._at += 1

    def value(self) -> Any:
        """Read the next value."""
        self.sign()
        while True:
            try:
                value, end = _DECODER.raw_decode(self._held, self._at)
                if end < len(self._held) or not self._read():  # a number might go on in the next chunk
                    self._at = end
                    return value
            except json.JSONDecodeError as error:
                if len(self._held) - self._at > LONGEST or not self._read():
                    raise self.refused(error.msg) from None
            except RecursionError:
                raise self.refused("nested too deeply") from None

    def refused(self, reason: str) -> SourceError:
        """The error with the position where reading stopped."""
        place = self._passed + self._at + 1
        return SourceError(f"{self._path}: not usable JSON at character {place:,}: {reason}; fetch the file again")

    def _read(self) -> bool:
        """Read the next chunk and drop consumed text; False at the end of the file."""
        more = self._stream.read(CHUNK)
        if more:
            self._passed += self._at
            self._held, self._at = self._held[self._at :] + more, 0
        return bool(more)
