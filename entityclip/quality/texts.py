"""Scores of explanations: one pass over every text, and patterns over the whole column at once."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from entityclip.quality.language import wrong_language
from entityclip.quality.names import WORD, NameBook

PATTERNS = {
    "refusal": (
        r"(?i)\bas an ai\b|\blanguage model\b|\bi(?:'m|’m| am) (?:sorry|unable|not able)\b|"
        r"\bi (?:cannot|can't|can’t|can not|do not have|don't have|don’t have) |\bsorry, (?:but )?i\b|"
        r"(?:AI|人工知能)(?:モデル|アシスタント|言語モデル)?として|言語モデル|申し訳(?:ありません|ございません)|"
        r"お(?:答え|応え|手伝い)(?:すること)?(?:は|が)?できません"
    ),
    "placeholder": (
        r"(?i)\[(?:insert|your|add|enter|product|name|brand|model|colou?r|todo|tbd)[^\]]{0,40}\]|\{\{?[^{}]{0,40}\}\}?|"
        r"<(?:insert|your|product|name)[^<>]{0,40}>|\b(?:todo|tbd|tba|xxx+)\b|lorem ipsum|"
        r"\b(?:no description|description not available|coming soon)\b|[〇○●]{2,}|ここに.{0,12}(?:入力|記入)"
    ),
    "email": r"(?i)[a-z0-9._%+-]+ ?(?:@|[\[(]at[\])]) ?[a-z0-9-]+(?:\.[a-z0-9-]+)+",
    "phone": (
        r"\b0[0-9]{1,4}-[0-9]{1,4}-[0-9]{3,4}\b|\b0[0-9]{1,4}\([0-9]{1,4}\)[0-9]{3,4}\b|\b0[789]0[0-9]{8}\b|"
        r"\b0120[0-9]{6}\b|\+[0-9]{1,3}[ -]?\(?[0-9]{1,4}\)?(?:[ -]?[0-9]{2,4}){2,3}\b|"
        r"\([0-9]{3}\) ?[0-9]{3}-[0-9]{4}\b"
    ),
    "url": r"(?i)\bhttps?://[^\s]+|\bwww\.[a-z0-9-]+\.[^\s]+",
    "markup": r"</?[a-zA-Z][^<>]{0,200}>|&(?:amp|lt|gt|quot|nbsp|#[0-9]+);|\*\*[^*]+\*\*|```|\[[^\]]+\]\([^)]+\)",
    "control": r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\x{FFFD}\x{202A}-\x{202E}\x{2066}-\x{2069}]",
}
"""Fault column -> what is looked for, in RE2's syntax, after NFKC. The first hit stands in the column."""


def score_explanations(explanations: pd.DataFrame, entities: pd.DataFrame) -> pd.DataFrame:
    """``explanations`` with these columns added. ``entities`` is the entity table, all of it.

    Numbers:

    - ``characters``: length without outer space, 0 and up. Catches empty and endless texts.
    - ``words``: number of words, 0 and up; two Japanese characters count as one word. Catches texts that say
      nothing, and those that reach past what a text tower reads (77 tokens, about 60 words).
    - ``repetition``: share of the runs of three words (Japanese: characters) that occurred before in the same
      text, 0 to 1. Sound prose stays under 0.2. Catches texts that go in circles.
    - ``shared_by``: number of entities that have this very text, 1 and up. Catches boilerplate.
    - ``names_itself``: whether one of the entity's names occurs. No fault; training masks it.

    Fault columns, empty where all is well:

    - ``refusal``, ``placeholder``, ``email``, ``phone``, ``url``, ``markup``, ``control``: see ``PATTERNS``;
      ``control`` is unprintable characters, those that turn the direction of writing, and the mark of lost ones.
    - ``wrong_language``: the language that the text is in, where its row declares another; see ``language``.
    - ``other_entity``: another entity that the text names while it never names its own. A comparison ("sweeter
      than Royal Gala") names both and is sound; a text that was swapped with another's does not.
    - ``unknown_code``: a code that looks like this catalogue's model numbers and belongs to no entity: invented.

    A text of another entity that holds no name is invisible to all of them: each of its words is sound, and only
    the picture contradicts it.
    """
    texts = pc.utf8_normalize(pa.array(explanations["text"].fillna(""), type=pa.large_string()), form="NFKC")
    scored = explanations.copy()
    for fault, pattern in PATTERNS.items():
        found = pc.struct_field(pc.extract_regex(texts, f"(?P<found>{pattern})"), "found")
        scored[fault] = pd.Series(found.to_pandas().to_numpy(), index=explanations.index, dtype="str")
    book = NameBook(entities)
    columns = (
        texts.to_pylist(),
        explanations["entity_id"],
        explanations["caption"].fillna(""),
        explanations["language"],
    )
    rows = [_read(*row, book=book) for row in zip(*columns, strict=True)]
    read = pd.DataFrame(rows, columns=list(_READ), index=explanations.index).astype(_READ)
    plain = pd.Series(texts.to_pandas().to_numpy(), index=explanations.index, dtype="str").str.casefold()
    read["shared_by"] = explanations["entity_id"].groupby(plain.str.strip()).transform("nunique").astype("int64")
    return scored.join(read)


_READ: dict[str, Any] = {
    "characters": "int64",
    "words": "int64",
    "repetition": "float64",
    "names_itself": "bool",
    "wrong_language": "str",
    "other_entity": "str",
    "unknown_code": "str",
}


def _read(text: str, entity_id: str, caption: str, language: str | None, *, book: NameBook) -> tuple[Any, ...]:
    """One text's scores, in the order of ``_READ``."""
    words = WORD.findall(text.casefold())
    found = book.named(text, words)
    itself = book.own(entity_id, found)
    return (
        len(text.strip()),
        _word_count(words),
        repetition(words if len(words) > 2 else text),
        itself,
        wrong_language(text, words, declared=language),
        None if itself else book.other(entity_id, found),
        book.unknown_code(text, caption=unicodedata.normalize("NFKC", caption)),
    )


def _word_count(words: Sequence[str]) -> int:
    japanese = sum(len(word) == 1 and word > "\u2fff" for word in words)
    return len(words) - japanese + (japanese + 1) // 2


def repetition(tokens: Sequence[str]) -> float:
    """Share of the runs of three ``tokens`` that occurred before, 0 to 1; tokens are words or characters."""
    runs = list(zip(tokens, tokens[1:], tokens[2:], strict=False))
    return 1 - len(set(runs)) / len(runs) if runs else 0.0
