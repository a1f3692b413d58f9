"""Scores of single texts: patterns over the whole column at once, and one pass over the words of each text."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from entityclip.quality.language import latin_languages, script_of, wrong_language
from entityclip.quality.names import LIKE_A_CODE, NameBook
from entityclip.quality.numbers import KnownNumbers
from entityclip.quality.patterns import first_hits, open_ends
from entityclip.quality.tokens import HashedWords, TokenizedTexts

MOST_READ = 20_000
"""Characters of a text that are read; ``characters`` counts all of them."""


class ReadTexts(NamedTuple):
    """Result of one pass over texts."""

    scores: pa.Table
    """entity_id, writer (generator and language), and the columns of ``scorer.score_explanations``, except those that
    compare texts. Arrow stores a sparse fault column in a tenth of the memory that pandas needs."""
    words: HashedWords
    captions: HashedWords
    """Words of the captions; like those of the texts, without the names of their entities."""
    same: np.ndarray
    """(N,) int64, equal for texts that differ only in case, width and outer space."""


class TextContext(NamedTuple):
    """Names, numbers and rules that texts are compared with."""

    book: NameBook
    sources: KnownNumbers | None = None
    broken_rule: Callable[[str, str], str | None] | None = None
    """From a text and its language to the rule of the domain that it breaks."""

    def unknown_code(self, text: str, *, entity_id: str, caption: str) -> str | None:
        """The first code in ``text`` that no entity has, or, where no name holds a code, that no source has."""
        if self.book.has_codes or self.sources is None:
            return self.book.unknown_code(text, caption=caption)
        return self.sources.unknown_code(text, entity_id=entity_id, caption=caption)


def read_texts(explanations: pd.DataFrame, known: TextContext) -> ReadTexts:
    """The scores that need no other text."""
    whole = pc.utf8_normalize(_one_piece(explanations["text"].fillna("")), form="NFKC")
    texts, trimmed = pc.utf8_slice_codeunits(whole, 0, MOST_READ), pc.utf8_trim_whitespace(whole)
    length = pc.utf8_length(trimmed)
    plain = texts.to_pylist()
    tokens, owners = TokenizedTexts.of(texts), explanations["entity_id"]
    japanese = tokens.counts(lambda word: len(word) == 1 and word > "\u2fff")
    columns = {
        "entity_id": pa.array(owners, pa.large_string()),
        "writer": _writer(explanations),
        "characters": length,
        "words": np.diff(tokens.ends) - japanese // 2,
        "repetition": _repetition(tokens, plain),
        **_languages(explanations, texts, plain, tokens),
        **_names(explanations, texts, plain, tokens, known),
        **first_hits(texts),
        "open_end": open_ends(texts, length, most=MOST_READ),
        "doubts": _doubts(explanations),
    }
    same = pd.util.hash_array(pc.utf8_lower(trimmed).to_numpy(zero_copy_only=False), categorize=False)
    group, ids = pd.factorize(owners)
    names = [known.book.words_of(owner) for owner in ids]
    captions = TokenizedTexts.of(pc.utf8_normalize(_one_piece(explanations["caption"].fillna("")), form="NFKC"))
    words, captioned = (part.without(group, names) for part in (tokens, captions))
    return ReadTexts(pa.table(columns), words, captioned, same.view(np.int64))


def _one_piece(texts: pd.Series) -> pa.Array:
    """A column of strings as one contiguous array."""
    array = pa.array(texts, type=pa.large_string())
    return array.combine_chunks() if isinstance(array, pa.ChunkedArray) else array


def _doubts(explanations: pd.DataFrame) -> pa.Array:
    """What the writer doubts; null where it doubts nothing. Earlier data versions have no doubts."""
    doubts = explanations["doubts"].fillna("") if "doubts" in explanations else pd.Series("", index=explanations.index)
    return pa.array(doubts.where(doubts != ""), pa.large_string(), from_pandas=True)


def _writer(explanations: pd.DataFrame) -> pa.Array:
    language = explanations["language"].fillna("")
    known = explanations["generator"].fillna("") + " " + language if "generator" in explanations else language
    return pa.array(known, pa.string()).dictionary_encode()


def _repetition(tokens: TokenizedTexts, texts: Sequence[str]) -> np.ndarray:
    """(N,) share of the runs of three words that occurred before; of characters, where there are not three words."""
    runs = HashedWords(tokens.codes.view(np.uint32), tokens.ends).runs_of_three()
    counts = np.diff(runs.ends)
    share = 1 - runs.distinct() / np.maximum(counts, 1)
    share[counts == 0] = [repetition(texts[row]) for row in _rows(counts == 0)]
    return share


def repetition(text: str) -> float:
    """Share of the runs of three characters that occurred before, 0 to 1."""
    runs = list(zip(text, text[1:], text[2:], strict=False))
    return 1 - len(set(runs)) / len(runs) if runs else 0.0


def _languages(
    explanations: pd.DataFrame, texts: pa.Array, plain: Sequence[str], tokens: TokenizedTexts
) -> dict[str, pa.Array]:
    seen = latin_languages(tokens)
    for row in _rows(pc.invert(pc.string_is_ascii(texts))):
        seen[row] = script_of(plain[row]) or seen[row]
    declared = explanations["language"].tolist()
    wrong = [wrong_language(found, declared=language) for found, language in zip(seen, declared, strict=True)]
    return {"wrong_language": pa.array(wrong, pa.large_string())}


def _rows(mask: pa.Array | np.ndarray) -> list[int]:
    """Where a mask is true."""
    return np.flatnonzero(np.asarray(mask, bool)).tolist()


def _names(
    explanations: pd.DataFrame,
    texts: pa.Array,
    plain: Sequence[str],
    tokens: TokenizedTexts,
    known: TextContext,
) -> dict[str, pa.Array]:
    """Names, unknown codes and unknown numbers; only texts that may hold some are searched."""
    book, sources, owners = known.book, known.sources, explanations["entity_id"].tolist()
    captions = explanations["caption"].fillna("").tolist()
    itself = [False] * len(plain)
    columns: dict[str, list[str | None]] = {name: [None] * len(plain) for name in _LOOKED_UP}
    for row in _rows(book.may_name(tokens) | ~np.asarray(pc.string_is_ascii(texts), bool)):
        if found := book.named(plain[row], tokens.words(row)):
            itself[row] = book.own(owners[row], found)
            columns["other_entity"][row] = None if itself[row] else book.other(owners[row], found)
    for row in _rows(pc.match_substring_regex(texts, LIKE_A_CODE)):
        owner = {"entity_id": owners[row], "caption": unicodedata.normalize("NFKC", captions[row])}
        columns["unknown_code"][row] = known.unknown_code(plain[row], **owner)
    if sources:
        for row in _rows(pc.match_substring_regex(texts, "[0-9]")):
            owner = {"entity_id": owners[row], "caption": unicodedata.normalize("NFKC", captions[row])}
            columns["unknown_number"][row] = sources.unknown_number(plain[row], **owner)
    if broken := known.broken_rule:
        languages = explanations["language"].fillna("")
        columns["broken_rule"] = [broken(text, language) for text, language in zip(plain, languages, strict=True)]
    return {"names_itself": pa.array(itself), **{k: pa.array(v, pa.large_string()) for k, v in columns.items()}}


_LOOKED_UP = ("other_entity", "unknown_code", "unknown_number", "broken_rule")
