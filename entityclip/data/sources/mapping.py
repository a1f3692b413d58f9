"""The mapping of table columns to roles, read from YAML; errors name the line."""

from __future__ import annotations

import reprlib
from collections import Counter
from collections.abc import Iterator
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BeforeValidator, Field, PrivateAttr, ValidationError

from entityclip.data.sources.dates import FORMS
from entityclip.errors import ConfigError
from entityclip.schemas import Record

ENCODING = "Text encoding of the table. Without it UTF-8, and cp932 (Shift_JIS) where the bytes are Japanese in it."


def _column(value: Any) -> str:
    if isinstance(value, str) and value.strip():
        return value
    if isinstance(value, bool):
        raise ValueError("expected the name of a column; YAML reads yes, no, on and off as true and false: quote it")
    quoted = "" if value is None or isinstance(value, list | dict | str) else f"; if it is one, quote it: '{value}'"
    raise ValueError(f"expected the name of a column{quoted}")


def _columns(value: Any) -> tuple[str, ...]:
    try:
        return tuple(map(_column, value if isinstance(value, list | tuple) else [value]))
    except ValueError as error:
        raise ValueError(f"{error}, or a list of names: [name, name]") from None


def _optional(value: Any) -> str | None:
    return None if value is None else _column(value)


def _optional_columns(value: Any) -> tuple[str, ...] | None:
    return None if value is None else _columns(value)


Column = Annotated[str | None, BeforeValidator(_optional)]
Columns = Annotated[tuple[str, ...] | None, BeforeValidator(_optional_columns)]
"""One name stands for a list of one."""


class EntityMapping(Record):
    """Path of the entity table (product master), and the roles of its columns.

    A role of None uses the column of the same name if there is one. Rows that repeat an entity add aliases and
    explanations. ``table`` may also be the picture table itself.
    """

    table: Path | None = Field(
        default=None,
        description="Relative to the picture table; None looks for entities.* or products.* beside it.",
    )
    entity: Column = None
    aliases: Columns = Field(default=None, description="Columns with other names and codes.")
    explanations: Columns = Field(default=None, description="Columns with texts about the entity.")
    category: Column = None
    tags: Columns = Field(default=None, description="Columns with tags; , ; and 、 separate several.")
    date: Column = Field(default=None, description=f"Column with the day to filter by: {FORMS}.")
    language: Column = None
    licence: Column = None
    consent: Column = None
    encoding: str | None = Field(default=None, description=ENCODING)


class TableMapping(Record):
    """Roles of the columns of the picture table; the YAML file has the same keys.

    A role of None uses the column of the same name if there is one. ``file`` and one of ``entity`` and ``caption`` are
    required; if one of these two is missing, the other is used for both.
    """

    file: Column = Field(default=None, description="Path of the picture, relative to the image folder.")
    caption: Column = None
    entity: Column = Field(default=None, description="The name or code that the entity table also uses.")
    explanations: Columns = Field(default=None, description="Columns with texts about the entity.")
    category: Column = None
    tags: Columns = Field(default=None, description="Columns with tags of the entity; as below.")
    date: Column = Field(default=None, description="Column with the entity's day to filter by; as below.")
    language: Column = None
    licence: Column = None
    consent: Column = None
    split: Column = Field(default=None, description="Column with train, val, test or sealed; empty cells are drawn.")
    split_group: Column = Field(
        default=None, description="Column whose equal texts mark pictures of one burst, scene or session: one split."
    )
    encoding: str | None = Field(default=None, description=ENCODING)
    default_language: str | None = Field(
        default=None,
        description="Language of rows that do not name theirs, ISO 639-1; None: ja where most rows have kana, else en.",
    )
    images: Path | None = Field(default=None, description="Image folder relative to the table; None is the table's.")
    shared_pictures: Literal["refuse", "merge"] = Field(
        default="refuse",
        description="Entities that share a picture: the gate sets their rows aside, or they become one entity that "
        "keeps all their names.",
    )
    entities: EntityMapping = EntityMapping()

    _file: Path | None = PrivateAttr(default=None)
    _lines: dict[str, int] = PrivateAttr(default_factory=dict)

    @classmethod
    def read(cls, path: Path) -> TableMapping:
        """Read a mapping from a YAML file.

        Raises:
            ConfigError: The file is missing, is not YAML, or has an unknown key or an invalid value. The message names
                the line, the key, its value and the allowed ones.
        """
        try:
            values, lines = _parsed(path)
            mapping = cls.model_validate(values)
        except ValidationError as error:
            raise ConfigError(f"{path}: not a usable table mapping: {_explained(error, lines)}") from None
        except (OSError, RecursionError, ValueError, yaml.YAMLError) as error:
            raise ConfigError(f"{path}: not a usable table mapping: {_why(error)}") from None
        mapping._file, mapping._lines = path, lines
        return mapping

    def where(self, key: str) -> str:
        """Prefix of a message about ``key``: file and line; empty if no file has this key."""
        return f"{self._file}, line {self._lines[key]}: {key}: " if key in self._lines else ""


# ---------------------------------------------------------------- the YAML file
def _parsed(path: Path) -> tuple[dict[str, Any], dict[str, int]]:
    """The values of the file, and the line of each key; that of a key below ``entities`` is ``entities.key``."""
    text = path.read_text(encoding="utf-8-sig")
    root, values = yaml.compose(text, Loader=yaml.SafeLoader), yaml.safe_load(text)
    if root is None:
        return {}, {}
    if not isinstance(root, yaml.MappingNode):
        wide = "; a key ends with the half-width ':' and a space" if "：" in text else ""
        line = root.start_mark.line + 1
        raise ValueError(f"line {line}: expected lines of 'role: column', found {_shown(values)}{wide}")
    found = list(_keys(root))
    if twice := [key for key, count in Counter(key for key, _ in found).items() if count > 1]:
        both = " and ".join(str(line) for key, line in found if key == twice[0])
        raise ValueError(f"lines {both}: {twice[0]}: the key is there twice; keep one of them")
    return values, dict(found)


def _keys(root: yaml.MappingNode) -> Iterator[tuple[str, int]]:
    for key, value in root.value:
        yield str(key.value), key.start_mark.line + 1
        if isinstance(value, yaml.MappingNode):
            yield from ((f"{key.value}.{inner.value}", inner.start_mark.line + 1) for inner, _ in value.value)


def _explained(error: ValidationError, lines: dict[str, int]) -> str:
    """Each mistake with its line, key, value and what is allowed."""
    mistakes = []
    for found in error.errors():
        key = ".".join(map(str, found["loc"]))
        line = next((lines[name] for name in (key, key.rpartition(".")[0]) if name in lines), 1)
        allowed = _allowed(key) if found["type"] == "extra_forbidden" else found["msg"].removeprefix("Value error, ")
        mistakes.append(f"line {line}: {key}: {_shown(found['input'])}: {allowed}")
    return "; ".join(mistakes)


def _allowed(key: str) -> str:
    """The keys that are allowed instead of an unknown one."""
    parent, _, name = key.rpartition(".")
    fields = list((EntityMapping if parent else TableMapping).model_fields)
    if not parent and name in EntityMapping.model_fields:
        return "this key belongs under 'entities:'"
    near = get_close_matches(name, fields, n=1)
    return f"unknown key{f', is {near[0]!r} meant' if near else ''}; allowed are {', '.join(fields)}"


def _shown(value: Any) -> str:
    """The value for a message, shortened."""
    return reprlib.repr(value)


def _why(error: Exception) -> str:
    """One line with the reason why a file is not YAML."""
    if isinstance(error, UnicodeDecodeError):
        return "it is not UTF-8; save it as UTF-8 (the tables themselves may be in another encoding)"
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    if isinstance(error, OSError):
        return f"it cannot be read: {error.strerror}"
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark:
        return f"line {error.problem_mark.line + 1}: not YAML: {error.problem}; look for a quote or a space after ':'"
    return " ".join(str(error).split())
