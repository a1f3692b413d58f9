"""All scores of explanations, for a table or shard by shard."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context

import numpy as np
import pandas as pd

from entityclip.errors import DataError
from entityclip.quality.names import NameBook
from entityclip.quality.near_duplicates import near_duplicate_labels, shared_by
from entityclip.quality.numbers import KnownNumbers
from entityclip.quality.texts import ReadTexts, TextContext, read_texts
from entityclip.quality.tokens import HashedWords
from entityclip.quality.within_category import Likeness, likeness

SHARD_ROWS = 20_000
CLEARLY = 0.25
"""Margin by which a text must be nearer to a sibling to count as closer."""
_STYLE = 1 / 3


def score_explanations(
    explanations: pd.DataFrame,
    entities: pd.DataFrame,
    *,
    source_provided: pd.DataFrame | None = None,
    broken_rule: Callable[[str, str], str | None] | None = None,
) -> pd.DataFrame:
    """``explanations`` with these columns added; docs/scores.md has their ranges and costs.

    Numbers:

    - ``characters``: length without outer space, 0 and up. Detects empty and overlong texts.
    - ``words``: number of words, 0 and up; two Japanese characters count as one word. Detects texts that
      are too short, or longer than a text encoder reads (77 tokens, about 60 words).
    - ``repetition``: share of the runs of three words (Japanese: characters) that occurred before in the same
      text, 0 to 1. Normal prose stays under 0.2. Detects texts that repeat themselves.
    - ``names_itself``: whether one of the entity's names occurs. Not a fault; training masks it.
    - ``shared_by``: number of entities that have exactly this text, 1 and up.
    - ``nearly_shared_by``: the same for near duplicates, apart from their entity's own names, 1 and up. Detects one
      text or template for many entities; see ``near_duplicates``.
    - ``like_own``: similarity with the entity's other texts, 0 to 1. An entity with one text is compared by its
      caption, apart from names; missing where that says nothing either.
    - ``like_sibling``: similarity with the texts of the nearest other entity of the category, 0 to 1, or with its
      caption where ``like_own`` is about the caption; missing where there is none. A text as near to a sibling as to
      its own entity does not distinguish them; see ``within_category``.
    - ``compared_with``: what ``like_own`` is about: ``texts`` or ``caption``; missing where there is nothing to compare
      the text with.

    Fault columns, empty for texts without the fault:

    - ``refusal``, ``injected``, ``placeholder``, ``boilerplate``, ``email``, ``phone``, ``url``, ``markup``,
      ``control``: see ``patterns``. ``injected`` is an instruction to the reader of the text, ``boilerplate`` a text
      of shop phrases only, ``control`` unprintable characters, direction marks and replacement characters.
    - ``open_end``: the end of a text without a final full stop: it was cut off. Where a third of a generator's
      texts in a language end like that, it counts as its style, not as a fault.
    - ``wrong_language``: the language that the text is in, where its row declares another; see ``language``.
    - ``other_entity``: another entity that the text names while it never names its own, as swapped texts do. A
      comparison ("sweeter than Royal Gala") names both and is no fault.
    - ``closer_to``: the sibling whose texts this text is nearer to, by ``CLEARLY``, than to the other texts of its own
      entity. Not by captions: they are too short to say that a text is about something else.
    - ``unknown_code``: an invented code: it has the form of this catalogue's model numbers and belongs to no entity.
      Where no name holds a code, one that no source holds; computed only where ``source_provided`` is given.
    - ``unknown_number``: a number or code in neither the caption, nor a name, nor a text of ``source_provided``;
      computed only where ``source_provided`` is given. See ``numbers``.
    - ``broken_rule``: result of ``broken_rule``, where it is given.
    - ``doubts``: what the writer is not sure of.

    Args:
        explanations: entity_id, caption, text, language, and, where they are there, generator and doubts.
        entities: The entity table, all of it: entity_id, entity, aliases, and, if it is there, category.
        source_provided: The texts that the source provides: entity_id, text.
        broken_rule: From a text and its language to the rule of the domain that it breaks, or None.

    Raises:
        DataError: The scorer failed on a text; names its id, and has the exception as its cause.
    """
    starts = range(0, max(1, len(explanations)), SHARD_ROWS)
    shards = [explanations.iloc[start : start + SHARD_ROWS] for start in starts]
    return pd.concat(
        score_shards(lambda: iter(shards), entities, source_provided=source_provided, broken_rule=broken_rule)
    )


def score_shards(
    shards: Callable[[], Iterable[pd.DataFrame]],
    entities: pd.DataFrame,
    *,
    source_provided: pd.DataFrame | None = None,
    broken_rule: Callable[[str, str], str | None] | None = None,
    processes: int = 1,
) -> Iterator[pd.DataFrame]:
    """The same as ``score_explanations``, shard after shard, for tables larger than memory.

    Scores that compare a text with all others need a first pass over the texts: ``shards`` is called twice and must
    return the same shards. About 250 bytes per text stay in memory.

    Args:
        shards: Gives the table's parts in order.
        entities: See ``score_explanations``; ``source_provided`` and ``broken_rule`` likewise.
        source_provided: See there.
        broken_rule: See there; with several processes a function that can be pickled.
        processes: Number of processes that read texts.
    """
    known = TextContext(
        NameBook(entities), None if source_provided is None else KnownNumbers(entities, source_provided), broken_rule
    )
    read = list(_all_read(shards(), known, processes))
    del known  # frees the names of up to a million entities
    about_all, scored, place = _about_all(read, entities), [part.scores for part in read], 0
    del read
    for shard, part in zip(shards(), scored, strict=True):
        scores = part.drop_columns(["entity_id", "writer"]).to_pandas()
        scores = scores.assign(**about_all[place : place + len(shard)].reset_index(drop=True))
        scores["open_end"] = scores["open_end"].where(~scores.pop("open_by_style"))
        yield pd.concat([shard.drop(columns=scores.columns, errors="ignore"), scores.set_axis(shard.index)], axis=1)
        place += len(shard)


def _all_read(shards: Iterable[pd.DataFrame], known: TextContext, processes: int) -> Iterator[ReadTexts]:
    """Each shard's own scores, in order; only the shards in work are in memory."""
    if processes == 1:
        yield from (_read(shard, known) for shard in shards)
        return
    # Spawned, not forked: the fork of a process that has threads may hang.
    fresh = get_context("spawn")
    with ProcessPoolExecutor(processes, fresh, initializer=_remember, initargs=(known,)) as pool:
        waiting: deque[Future[ReadTexts]] = deque()
        for shard in shards:
            waiting.append(pool.submit(_read_there, shard))
            if len(waiting) > processes:
                yield waiting.popleft().result()
        yield from (future.result() for future in waiting)


_remembered: list[TextContext] = []
"""In a worker process: the context, sent once and not with every shard."""


def _remember(known: TextContext) -> None:
    _remembered[:] = [known]


def _read_there(shard: pd.DataFrame) -> ReadTexts:
    return _read(shard, *_remembered)


def _read(shard: pd.DataFrame, known: TextContext) -> ReadTexts:
    """The shard's own scores. Raises DataError with the id of the first text that the scorer fails on."""
    try:
        return read_texts(shard, known)
    except Exception as error:
        text = _first_that_raises(shard, known)
        if text is None:  # not caused by a text: a column is missing
            raise
        which = f"explanation {text.get('explanation_id', '')} of entity {text['entity_id']}"
        raise DataError(f"{which}: the scorer failed on this text: {type(error).__name__}: {error}") from error


def _first_that_raises(shard: pd.DataFrame, known: TextContext) -> pd.Series | None:
    """The text on which the scorer fails, found by bisection; None where it fails on an empty shard too."""
    if _raises(shard.iloc[:0], known):
        return None
    while len(shard) > 1:
        half = shard.iloc[: len(shard) // 2]
        shard = half if _raises(half, known) else shard.iloc[len(half) :]
    return shard.iloc[0]


def _raises(shard: pd.DataFrame, known: TextContext) -> bool:
    try:
        read_texts(shard, known)
    except Exception:
        return True
    return False


# ---------------------------------------------------------------- scores across texts
def _about_all(read: list[ReadTexts], entities: pd.DataFrame) -> pd.DataFrame:
    """The columns that depend on all texts, N rows."""
    words, same = HashedWords.joined([part.words for part in read]), np.concatenate([part.same for part in read])
    captions = HashedWords.joined([part.captions for part in read])
    entity, ids = pd.factorize(pd.concat([part.scores.column("entity_id").to_pandas() for part in read]))
    of_id = entities.drop_duplicates("entity_id").set_index("entity_id")
    of_id = of_id.reindex(index=ids, columns=["entity", "category"])
    category = pd.factorize(of_id["category"].fillna(""))[0]
    with ThreadPoolExecutor(1) as beside:
        copies = beside.submit(near_duplicate_labels, words, same)
        near = likeness(words, entity, category)
    alone = np.flatnonzero((np.bincount(entity) == 1)[entity] & (np.diff(captions.ends) > 0))
    _compare_with_captions(near, alone, words, captions, entity, category)
    by = np.full(len(entity), None, dtype=object)
    by[np.isfinite(near.own)] = "texts"
    by[alone] = "caption"
    closer = (near.sibling > near.own + CLEARLY) & (by == "texts")
    columns = {
        "shared_by": shared_by(same, entity),
        "nearly_shared_by": shared_by(copies.result(), entity),
        "compared_with": pd.Categorical(by, categories=["texts", "caption"]),  # text columns hold faults
        "like_own": near.own,
        "like_sibling": near.sibling,
        "closer_to": of_id["entity"].astype("str").take(near.nearest).reset_index(drop=True).where(closer),
        "open_by_style": _open_by_style(read),
    }
    return pd.DataFrame(columns)


def _compare_with_captions(
    near: Likeness,
    alone: np.ndarray,
    words: HashedWords,
    captions: HashedWords,
    entity: np.ndarray,
    category: np.ndarray,
) -> None:
    """Put into ``near`` the likeness of the texts ``alone`` with captions: their own, and those of siblings."""
    if not len(alone):
        return
    both, owner = HashedWords.joined([words.of(alone), captions.of(alone)]), np.tile(entity[alone], 2)
    found = likeness(both, owner, category, profile=np.arange(len(owner)) >= len(alone))
    for column, values in zip(near, found, strict=True):
        column[alone] = values[: len(alone)]


def _open_by_style(read: list[ReadTexts]) -> np.ndarray:
    """(N,) bool: texts of a generator that ends a third of its texts in this language without a full stop."""
    writer, end = (pd.concat([part.scores.column(c).to_pandas() for part in read]) for c in ("writer", "open_end"))
    by = end.notna().groupby(writer.astype("str").to_numpy())
    # Two complete texts are added, so that a single truncated one is not yet a style.
    return (by.transform("sum") / (by.transform("size") + 2) > _STYLE).to_numpy()
