"""Scores of a text for itself: patterns over the whole column at once, and one pass over the words of each text."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from entityclip.quality.alike import Words
from entityclip.quality.language import wrong_language
from entityclip.quality.names import NameBook, words_of
from entityclip.quality.numbers import Sources
from entityclip.quality.patterns import first_hits, open_ends

MOST_READ = 20_000
"""Characters of a text that are read. What is longer is no explanation, and ``characters`` says so."""


class ReadTexts(NamedTuple):
    """What one pass over texts gives."""

    scores: pa.Table
    """entity_id, writer (generator and language), and the columns of ``scored.score_explanations`` but for those
    about the whole set. Arrow holds a column of faults, most of them missing, in a tenth of what pandas takes."""
    words: Words
    same: np.ndarray
    """(N,) int64, equal for texts that differ in nothing but case, width and outer space."""


class Known(NamedTuple):
    """What texts are compared with."""

    book: NameBook
    sources: Sources | None = None
    broken_rule: Callable[[str, str], str | None] | None = None
    """From a text and its language to the rule of the domain that it breaks."""


def read_texts(explanations: pd.DataFrame, known: Known) -> ReadTexts:
    """The scores that each text has for itself."""
    whole = pc.utf8_normalize(pa.array(explanations["text"].fillna(""), type=pa.large_string()), form="NFKC")
    texts = pc.utf8_slice_codeunits(whole, 0, MOST_READ)
    cells = (explanations["entity_id"], explanations["caption"].fillna(""), explanations["language"])
    read, words = [], []
    for row in zip(texts.to_pylist(), *(cell.tolist() for cell in cells), strict=True):
        scores, own_words = _read(*row, known=known)
        read.append(scores)
        words.append(own_words)
    trimmed = pc.utf8_trim_whitespace(whole)
    length = pc.utf8_length(trimmed)
    columns = {
        "entity_id": pa.array(explanations["entity_id"]),
        "writer": _writer(explanations),
        "characters": length,
        **{name: pa.array([row[i] for row in read], kind) for i, (name, kind) in enumerate(_READ.items())},
        **first_hits(texts),
        "open_end": open_ends(texts, length, most=MOST_READ),
    }
    same = pd.util.hash_array(pc.utf8_lower(trimmed).to_numpy(zero_copy_only=False), categorize=False)
    return ReadTexts(pa.table(columns), Words.of(words), same.view(np.int64))


def _writer(explanations: pd.DataFrame) -> pa.Array:
    language = explanations["language"].fillna("")
    known = explanations["generator"].fillna("") + " " + language if "generator" in explanations else language
    return pa.array(known, pa.string()).dictionary_encode()


_READ = {
    "words": pa.int64(),
    "repetition": pa.float64(),
    "names_itself": pa.bool_(),
    "wrong_language": pa.large_string(),
    "other_entity": pa.large_string(),
    "unknown_code": pa.large_string(),
    "unknown_number": pa.large_string(),
    "broken_rule": pa.large_string(),
}


def _read(
    text: str, entity_id: str, caption: str, language: str | None, *, known: Known
) -> tuple[tuple[Any, ...], list[str]]:
    """One text's scores, in the order of ``_READ``, and its words without those of its own names."""
    words = words_of(text.casefold())
    book, sources = known.book, known.sources
    found = book.named(text, words)
    itself = book.own(entity_id, found) if found else False
    own = book.words_of(entity_id)
    caption = caption if caption.isascii() else unicodedata.normalize("NFKC", caption)
    scores = (
        len(words) if text.isascii() else _word_count(words),
        repetition(words if len(words) > 2 else text),
        itself,
        wrong_language(text, words, declared=language),
        book.other(entity_id, found) if found and not itself else None,
        book.unknown_code(text, caption=caption),
        sources.unknown_number(text, entity_id=entity_id, caption=caption) if sources else None,
        known.broken_rule(text, language or "") if known.broken_rule else None,
    )
    return scores, [word for word in words if word not in own]


def _word_count(words: Sequence[str]) -> int:
    japanese = sum(len(word) == 1 and word > "\u2fff" for word in words)
    return len(words) - japanese + (japanese + 1) // 2


def repetition(tokens: Sequence[str]) -> float:
    """Share of the runs of three ``tokens`` that occurred before, 0 to 1; tokens are words or characters."""
    runs = list(zip(tokens, tokens[1:], tokens[2:], strict=False))
    return 1 - len(set(runs)) / len(runs) if runs else 0.0
