"""Differences in wording between groups of texts: tables for a person to read, not faults."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pandas as pd

from entityclip.quality.names import words_of

_PRAISE = """amazing attractive beautiful best charming delicious durable elegant excellent exquisite finest gorgeous
great healthy ideal impressive lovely luxurious nice perfect pleasant pleasing premium pretty reliable stunning stylish
sturdy superb superior tasty wonderful"""
_BLAME = """awful bad bland boring broken cheap cheaply clumsy coarse crude damaged dated dirty disappointing dull faded
flawed fragile inferior mediocre nasty odd outdated poor rotten rough rusty shabby ugly unattractive unpleasant worn
worst"""
PRAISE, BLAME = (frozenset(words_of(words)) for words in (_PRAISE, _BLAME))
PRAISE_JA = ("美し", "素敵", "上質", "高級", "優れ", "素晴らし", "おしゃれ", "新鮮", "美味", "かわい", "便利", "丈夫")
BLAME_JA = ("安っぽ", "粗末", "古びた", "汚れ", "壊れ", "醜", "不便", "劣", "粗悪", "退屈")

Group = Literal["category", "language"]
_FEWEST = 5
_PRIOR = 10.0


def sentiment(scored: pd.DataFrame, *, by: pd.Series) -> pd.DataFrame:
    """Tone by group: one row a group with ``texts``, ``words`` (mean), ``praise`` and ``blame``.

    The last two are the shares of texts, 0 to 1, with a positive or a negative word (English and Japanese
    lists; other languages count as neither). ``apart`` is the distance, in standard errors, between the group's
    praise minus blame and that of all texts; look at groups beyond 3.
    """
    words = [set(words_of(text.casefold())) for text in scored["text"].fillna("")]
    texts = scored["text"].fillna("").tolist()
    marks = pd.DataFrame(
        {
            "group": by.fillna("").to_numpy(),
            "words": [len(some) for some in words] if "words" not in scored else scored["words"].to_numpy(),
            "praise": [_any(PRAISE, PRAISE_JA, some, text) for some, text in zip(words, texts, strict=True)],
            "blame": [_any(BLAME, BLAME_JA, some, text) for some, text in zip(words, texts, strict=True)],
        }
    )
    tone = marks["praise"].astype(float) - marks["blame"].astype(float)
    grouped = marks.groupby("group")
    table = grouped[["words", "praise", "blame"]].mean()
    table.insert(0, "texts", grouped.size())
    error = tone.std(ddof=0) / np.sqrt(table["texts"])
    table["apart"] = ((tone.groupby(marks["group"]).mean() - tone.mean()) / error.replace(0, np.nan)).fillna(0.0)
    return table.sort_values("apart", key=abs, ascending=False, kind="stable").reset_index()


def _any(words: frozenset[str], japanese: tuple[str, ...], held: set[str], text: str) -> bool:
    return not words.isdisjoint(held) or (not text.isascii() and any(part in text for part in japanese))


def attributes(scored: pd.DataFrame, *, by: pd.Series, most: int = 5) -> pd.DataFrame:
    """The words that are most typical of each group: ``group``, ``word``, ``share`` (of the group's texts that hold
    it), ``elsewhere`` (of all other texts), ``apart`` (standard errors of the log odds, with a prior of ten texts).

    At most ``most`` words a group, those of fewer than five texts left out. Look for a colour or an occupation that
    ranks high for one group and not for comparable ones.
    """
    groups = by.fillna("").tolist()
    rows = [
        (group, word)
        for group, text in zip(groups, scored["text"].fillna(""), strict=True)
        for word in set(words_of(text.casefold()))
    ]
    counts = (
        pd.DataFrame(rows, columns=["group", "word"]).groupby(["group", "word"]).size().rename("here").reset_index()
    )
    sizes = pd.Series(groups, dtype="str").value_counts()
    counts["all"] = counts.groupby("word")["here"].transform("sum")
    counts = counts[(counts["here"] >= _FEWEST) & (counts["group"].map(sizes) < len(groups))].copy()
    here = counts["group"].map(sizes).astype("int64")
    there = len(groups) - here
    share, elsewhere = counts["here"], counts["all"] - counts["here"]
    prior = _PRIOR * counts["all"] / max(1, len(groups))
    odds = [_log_odds(share + prior, here + _PRIOR), _log_odds(elsewhere + prior, there + _PRIOR)]
    counts["apart"] = (odds[0] - odds[1]) / np.sqrt(1 / (share + prior) + 1 / (elsewhere + prior))
    counts["share"], counts["elsewhere"] = share / here, elsewhere / there
    top = counts[counts["apart"] > 0].sort_values(["group", "apart"], ascending=[True, False], kind="stable")
    return top.groupby("group").head(most)[["group", "word", "share", "elsewhere", "apart"]].reset_index(drop=True)


def _log_odds(hits: pd.Series, of: pd.Series) -> pd.Series:
    return np.log(hits / (of - hits).clip(lower=0.5))
