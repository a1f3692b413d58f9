"""Words and codes that an explanation claims to be printed, and that no picture of its entity shows.

Only where labels were read. Quoted words and codes are compared with everything that was read on the entity's pictures.
A reader mistakes characters, so a word counts as shown if most of its trigrams were read, and a code if it is the same
but for look-alike characters.
"""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from entityclip.data import pairs
from entityclip.data.label_lines import read_label_lines
from entityclip.paths import DataLayout
from entityclip.quality.names import CODE, STANDARDS

SHOWN = 0.6
"""Share of a word's trigrams that have to be read."""

_QUOTED = re.compile(
    r"(?<!\d)\"(\S[^\"\n]{0,58}\S)\"|“([^”\n]{2,60})”|«([^»\n]{2,60})»|「([^」\n]{2,60})」|『([^』\n]{2,60})』"
)
_LOOKALIKES = str.maketrans("oilbszg", "0118526")
_LEAST_LETTERS, _LEAST_DIGITS = 2, 3
_SHORTEST_WORD = 2
_EXCERPT = 120
_COMPARED = ("entity_id", "caption", "text")


@dataclass
class PrintedTexts:
    """What was read on the pictures of one entity."""

    pictures: int = 0
    lines: list[str] = field(default_factory=list)

    def evidence(self) -> str:
        """What an explanation's claim is compared with, for people."""
        pictures = f"{self.pictures} picture" + ("s" if self.pictures != 1 else "")
        read = " / ".join(dict.fromkeys(self.lines))
        if not read:
            return f"nothing was read on {pictures}"
        return f"read on {pictures}: {read if len(read) <= _EXCERPT else read[:_EXCERPT] + '...'}"


def printed_on(data: DataLayout) -> dict[str, PrintedTexts] | None:
    """entity_id -> what was read on its pictures, but for sealed ones; None where labels were not read."""
    lines = read_label_lines(data)
    if lines is None:
        return None
    listed = pairs.read_frame(data.pairs, columns=["entity_id", "image_sha256", "split"])
    rows = listed.loc[listed["split"] != "sealed", ["entity_id", "image_sha256"]].drop_duplicates()
    found: defaultdict[str, PrintedTexts] = defaultdict(PrintedTexts)
    for entity_id, on_picture in _columns(rows.merge(lines, on="image_sha256"), "entity_id", "lines"):
        found[entity_id].pictures += 1
        found[entity_id].lines.extend(on_picture)
    return dict(found)


def not_on_label(
    explanations: pd.DataFrame,
    entities: pd.DataFrame,
    source_provided: pd.DataFrame,
    printed: Mapping[str, PrintedTexts],
) -> pd.Series:
    """For each text its first claim that no picture shows, with what was read; missing where there is none.

    Words of the entity's names and of the caption are no claims about a picture, and neither are codes in texts that
    the source provides. Entities whose pictures were not read are left out.

    Args:
        explanations: entity_id, caption, text.
        entities: entity_id, entity, aliases.
        source_provided: entity_id, text.
        printed: As ``printed_on`` gives it.
    """
    names: defaultdict[str, list[str]] = defaultdict(list)
    for entity_id, entity, aliases in _columns(entities, "entity_id", "entity", "aliases"):
        names[entity_id] += [entity or "", *(() if aliases is None else aliases)]
    sources = source_provided.groupby("entity_id")["text"].agg(lambda texts: " ".join(texts.fillna(""))).to_dict()
    values: list[str | None] = []
    for entity_id, caption, text in _columns(explanations.fillna({"caption": "", "text": ""}), *_COMPARED):
        on_pictures = printed.get(entity_id)
        if on_pictures is None:
            values.append(None)
            continue
        known = " ".join([caption, *names[entity_id]])
        claim = next(_unshown(text, on_pictures.lines, known, sources.get(entity_id, "")), None)
        values.append(None if claim is None else f"{claim}; {on_pictures.evidence()}")
    return pd.Series(values, index=explanations.index, dtype="str")


def _columns(frame: pd.DataFrame, *columns: str) -> Iterator[tuple[Any, ...]]:
    return zip(*(frame[column].tolist() for column in columns), strict=True)


def _unshown(text: str, lines: Iterable[str], known: str, sources: str) -> Iterator[str]:
    """The claims of a text that are neither on a picture nor known otherwise."""
    read = [_plain(line) for line in [*lines, known]]
    together = " ".join(read)
    for quoted in _quoted(text):
        words = [word for word in _plain(quoted).split() if len(word) >= _SHORTEST_WORD]
        if any(not _shown(word, together) for word in words):
            yield f'"{quoted}"'
    codes = _code_key(" ".join([together, _plain(sources)]))
    for code in CODE.findall(unicodedata.normalize("NFKC", text)):
        letters, digits = (sum(map(kind, code)) for kind in (str.isalpha, str.isdigit))
        specific = letters >= _LEAST_LETTERS and digits >= _LEAST_DIGITS and not STANDARDS.fullmatch(code)
        if specific and _code_key(_plain(code)) not in codes:
            yield str(code)


def _quoted(text: str) -> Iterator[str]:
    for groups in _QUOTED.findall(text):
        yield next(filter(None, groups)).strip()


def _plain(text: str) -> str:
    """Letters and digits without case, width and accents, words apart."""
    bare = (c for c in unicodedata.normalize("NFKD", text).casefold() if unicodedata.category(c) != "Mn")
    return " ".join("".join(c if c.isalnum() else " " for c in bare).split())


def _code_key(plain: str) -> str:
    return plain.replace(" ", "").translate(_LOOKALIKES)


def _shown(word: str, together: str) -> bool:
    if word in together:
        return True
    size = 3 if word.isascii() else 2
    grams = [word[i : i + size] for i in range(len(word) - size + 1)]
    return bool(grams) and sum(gram in together for gram in grams) >= SHOWN * len(grams)
