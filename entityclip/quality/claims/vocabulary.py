"""The words that state an attribute: a packaged list, which a workspace can replace and the data extend."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, NamedTuple

import yaml
from pydantic import BeforeValidator, Field, StringConstraints, ValidationError

from entityclip.errors import ConfigError, faults
from entityclip.quality.language import primary_language
from entityclip.schemas import Record
from entityclip.storage import atomic_write

PACKAGED = Path(__file__).parent / "attributes.yaml"

Spelling = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=80)]


class Wording(NamedTuple):
    """A spelling, and the value that it states."""

    spelling: str
    attribute: str
    value: str


def _as_list(value: object) -> object:
    return [value] if isinstance(value, str) else value


Value = Annotated[tuple[Spelling, ...], BeforeValidator(_as_list), Field(min_length=1)]
"""The spellings of one value; the first is its name."""


class Vocabulary(Record):
    """Values of attributes that exclude each other, by language and attribute."""

    words: dict[str, dict[str, tuple[Value, ...]]]

    def values(self, language: str) -> dict[str, tuple[Value, ...]]:
        """Attribute -> values, in the language of a text such as ``ja`` or ``ja-JP``."""
        return self.words.get(primary_language(language), {})

    def wordings(self, language: str) -> Iterator[Wording]:
        """Every spelling of a language, with the value that it states."""
        for attribute, values in self.values(language).items():
            yield from (Wording(spelling, attribute, value[0]) for value in values for spelling in value)

    def spellings(self, language: str, attribute: str) -> dict[str, Value]:
        """Value -> its spellings."""
        return {value[0]: value for value in self.values(language).get(attribute, ())}

    def write_yaml(self, path: Path) -> None:
        """Write the words for people to edit, atomically."""
        plain = {
            language: {attribute: [list(v) if len(v) > 1 else v[0] for v in values] for attribute, values in of.items()}
            for language, of in self.words.items()
        }
        head = "# Language, attribute, values. A list is one value with its spellings; the first is its name.\n"
        atomic_write(path, head + yaml.safe_dump(plain, allow_unicode=True, sort_keys=False, width=110))


def read_vocabulary(path: Path | None = None) -> Vocabulary:
    """The words in ``path``; those of the package where it is None or does not exist.

    Raises:
        ConfigError: Not YAML, not of this form, or one spelling of a language states two values.
    """
    path = path if path is not None and path.exists() else PACKAGED
    try:
        found = Vocabulary(words=yaml.safe_load(path.read_text(encoding="utf-8")) or {})
    except (yaml.YAMLError, UnicodeDecodeError, OSError) as error:
        raise ConfigError(f"{path}: cannot be read as YAML: {error}") from error
    except ValidationError as error:
        raise ConfigError(f"{path}: {faults(error)}; expected language, attribute, and a list of values") from error
    for language in found.words:
        seen: dict[str, Wording] = {}
        for word in found.wordings(language):
            other = seen.setdefault(word.spelling.casefold(), word)
            if other[1:] != word[1:]:
                raise ConfigError(
                    f"{path}: {language}: {word.spelling!r} is {other.attribute} {other.value!r} and {word.attribute} "
                    f"{word.value!r}; a spelling states one value: remove one of the two"
                )
    return found
