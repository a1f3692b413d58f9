"""All scores of explanations, table by table or shard by shard."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context

import numpy as np
import pandas as pd

from entityclip.errors import DataError
from entityclip.quality.names import NameBook
from entityclip.quality.near_duplicates import alike, shared_by
from entityclip.quality.numbers import Sources
from entityclip.quality.texts import Known, ReadTexts, read_texts
from entityclip.quality.tokens import Words
from entityclip.quality.within_category import likeness

SHARD_ROWS = 20_000
CLEARLY = 0.25
"""A text is closer to a sibling when it is so by this much."""
_STYLE = 1 / 3


def score_explanations(
    explanations: pd.DataFrame,
    entities: pd.DataFrame,
    *,
    source_provided: pd.DataFrame | None = None,
    broken_rule: Callable[[str, str], str | None] | None = None,
) -> pd.DataFrame:
    """``explanations`` with these columns added; docs/scores.md tells their ranges, costs and what each caught.

    Numbers:

    - ``characters``: length without outer space, 0 and up. Catches empty and endless texts.
    - ``words``: number of words, 0 and up; two Japanese characters count as one word. Catches texts that say
      nothing, and those that reach past what a text tower reads (77 tokens, about 60 words).
    - ``repetition``: share of the runs of three words (Japanese: characters) that occurred before in the same
      text, 0 to 1. Sound prose stays under 0.2. Catches texts that go in circles.
    - ``names_itself``: whether one of the entity's names occurs. No fault; training masks it.
    - ``shared_by``: number of entities that have this very text, 1 and up.
    - ``nearly_shared_by``: the same for texts that are nearly this one but for their entity's own names, 1 and up.
      Catches one text, or one template, for many; see ``alike``.
    - ``like_own``: likeness with the entity's other texts, 0 to 1; missing where it has no other.
    - ``like_sibling``: likeness with the texts of the nearest other entity of the category, 0 to 1; missing where
      there is none. A text that is as near to a sibling as to its own does not tell them apart; see ``siblings``.

    Fault columns, empty where all is well:

    - ``refusal``, ``injected``, ``placeholder``, ``boilerplate``, ``email``, ``phone``, ``url``, ``markup``,
      ``control``: see ``patterns``. ``injected`` is an instruction to whoever reads the text, ``boilerplate`` a text
      of nothing but shop phrases, ``control`` unprintable characters, those that turn the direction of writing, and
      the mark of lost ones.
    - ``open_end``: how the text ends, where it does so without a full stop: it was cut off. Where a third of what
      one generator wrote in a language ends like that, it is its style and no fault.
    - ``wrong_language``: the language that the text is in, where its row declares another; see ``language``.
    - ``other_entity``: another entity that the text names while it never names its own. A comparison ("sweeter
      than Royal Gala") names both and is sound; a text that was swapped with another's does not.
    - ``closer_to``: the sibling whose texts this text is nearer to, by ``CLEARLY``, than to the other texts of its own
      entity.
    - ``unknown_code``: a code that looks like this catalogue's model numbers and belongs to no entity: invented.
      Where no name holds a code, one that the writer was not told; looked for only where ``source_provided`` is given.
    - ``unknown_number``: a number or code in neither the caption, nor a name, nor a text of ``source_provided``;
      looked for only where ``source_provided`` is given. See ``numbers``.
    - ``broken_rule``: what ``broken_rule`` says of the text, where it is given.

    Args:
        explanations: entity_id, caption, text, language, and, if it is there, generator.
        entities: The entity table, all of it: entity_id, entity, aliases, and, if it is there, category.
        source_provided: The texts that the data provide: entity_id, text.
        broken_rule: From a text and its language to the rule of the domain that it breaks, or None.

    Raises:
        DataError: The scorer stopped at a text; names its id, and has the exception as its cause.
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

    What a text shares with the others is known only after all were read: ``shards`` is called twice, and gives the
    same shards each time. Between the two, 250 bytes a text are held.

    Args:
        shards: Gives the table's parts in order.
        entities: See ``score_explanations``; ``source_provided`` and ``broken_rule`` likewise.
        source_provided: See there.
        broken_rule: See there; with several processes a function that can be pickled.
        processes: So many read texts at once.
    """
    known = Known(
        NameBook(entities), None if source_provided is None else Sources(entities, source_provided), broken_rule
    )
    read = list(_all_read(shards(), known, processes))
    del known  # the names of a million entities are much to hold
    about_all, scored, place = _about_all(read, entities), [part.scores for part in read], 0
    del read
    for shard, part in zip(shards(), scored, strict=True):
        scores = part.drop_columns(["entity_id", "writer"]).to_pandas()
        scores = scores.assign(**about_all[place : place + len(shard)].reset_index(drop=True))
        scores["open_end"] = scores["open_end"].where(~scores.pop("open_by_style"))
        yield pd.concat([shard.drop(columns=scores.columns, errors="ignore"), scores.set_axis(shard.index)], axis=1)
        place += len(shard)


def _all_read(shards: Iterable[pd.DataFrame], known: Known, processes: int) -> Iterator[ReadTexts]:
    """What each shard's texts say, in order; no more shards are in memory than are worked on."""
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


_remembered: list[Known] = []
"""In a process of its own: what is known, sent once and not with every shard."""


def _remember(known: Known) -> None:
    _remembered[:] = [known]


def _read_there(shard: pd.DataFrame) -> ReadTexts:
    return _read(shard, *_remembered)


def _read(shard: pd.DataFrame, known: Known) -> ReadTexts:
    """The shard's own scores. Raises DataError with the id of the text where one stops the scorer."""
    try:
        return read_texts(shard, known)
    except Exception as error:
        text = _first_that_raises(shard, known)
        if text is None:  # no single text does: a column is missing
            raise
        which = f"explanation {text.get('explanation_id', '')} of entity {text['entity_id']}"
        raise DataError(f"{which}: the scorer stopped at this text: {type(error).__name__}: {error}") from error


def _first_that_raises(shard: pd.DataFrame, known: Known) -> pd.Series | None:
    """The text at which the scorer stops, by halving the shard; None where it stops at an empty shard too."""
    if _raises(shard.iloc[:0], known):
        return None
    while len(shard) > 1:
        half = shard.iloc[: len(shard) // 2]
        shard = half if _raises(half, known) else shard.iloc[len(half) :]
    return shard.iloc[0]


def _raises(shard: pd.DataFrame, known: Known) -> bool:
    try:
        read_texts(shard, known)
    except Exception:
        return True
    return False


# ---------------------------------------------------------------- about the set
def _about_all(read: list[ReadTexts], entities: pd.DataFrame) -> pd.DataFrame:
    """The columns that depend on all texts, N rows."""
    words, same = Words.joined([part.words for part in read]), np.concatenate([part.same for part in read])
    entity, ids = pd.factorize(pd.concat([part.scores.column("entity_id").to_pandas() for part in read]))
    of_id = entities.drop_duplicates("entity_id").set_index("entity_id")
    of_id = of_id.reindex(index=ids, columns=["entity", "category"])
    with ThreadPoolExecutor(1) as beside:
        copies = beside.submit(alike, words, same)
        near = likeness(words, entity, pd.factorize(of_id["category"].fillna(""))[0])
    closer = near.sibling > near.own + CLEARLY
    columns = {
        "shared_by": shared_by(same, entity),
        "nearly_shared_by": shared_by(copies.result(), entity),
        "like_own": near.own,
        "like_sibling": near.sibling,
        "closer_to": of_id["entity"].astype("str").take(near.nearest).reset_index(drop=True).where(closer),
        "open_by_style": _open_by_style(read),
    }
    return pd.DataFrame(columns)


def _open_by_style(read: list[ReadTexts]) -> np.ndarray:
    """(N,) bool: texts of a generator that ends a third of its texts in this language without a full stop."""
    writer, end = (pd.concat([part.scores.column(c).to_pandas() for part in read]) for c in ("writer", "open_end"))
    by = end.notna().groupby(writer.astype("str").to_numpy())
    # Two sound texts are added, so that a single one that was cut off is no style yet.
    return (by.transform("sum") / (by.transform("size") + 2) > _STYLE).to_numpy()
