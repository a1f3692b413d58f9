"""The explain stage: staging's entities in, staging's explanations out, the ledger asked first."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from pydantic import Field
from tqdm import tqdm

from entityclip.data import pairs
from entityclip.data.rights import DEFAULT_RIGHTS, Rights
from entityclip.errors import WriterError
from entityclip.explanations.ledger import Ledger, key_of
from entityclip.explanations.source_writer import Writer, WriterCost, record
from entityclip.explanations.work_items import Requests
from entityclip.paths import DataLayout
from entityclip.paths.workspace import ledger_lock
from entityclip.schemas import ExplanationRecord, ExplanationRequest, Record
from entityclip.storage import atomic_path

LOOKED_UP_AT_ONCE = 256


class Estimate(Record):
    """What a run would ask and cost."""

    requests: int
    known: int = Field(description="Requests whose answer is in the ledger; they cost nothing.")
    cost: WriterCost = Field(description="Of the others, about.")


def explain(
    staging: DataLayout,
    *,
    writer: Writer,
    ledger: Path,
    rights: Rights = DEFAULT_RIGHTS,
    progress: bool = False,
    again: bool = False,
) -> int:
    """Have ``writer`` explain every entity in ``staging`` and write the table of explanations.

    What the ledger knows is not asked again, so a run that was killed goes on where it stopped. Rows come in the
    order of the entity table, and the table appears whole or not at all. A second run with the same writer and
    ledger waits for the first, and then finds its answers.

    Args:
        staging: What ``ingest`` wrote.
        writer: Who writes.
        ledger: SQLite file that keeps every answer; made where there is none.
        rights: Which rows may be used; the writer gets to know nothing of the others.
        progress: Show a bar with the rate, the time left and what was spent.
        again: Ask again where an earlier answer was set aside.

    Returns:
        How many texts there are.

    Raises:
        DataError: Staging is missing or half-written, or the ledger is not a ledger.
        WriterError: Some requests stay without an answer; those that came are kept, and nothing is written.
    """
    pairs.require_complete(staging)
    waiting = Requests(staging, pictures=writer.sees_pictures, rights=rights)
    texts = answered(waiting, writer=writer, ledger=ledger, progress=progress, again=again)
    return replace_texts(staging, (text.model_dump() for text in texts))


def answered(
    waiting: Requests, *, writer: Writer, ledger: Path, progress: bool = False, again: bool = False
) -> Iterator[ExplanationRecord]:
    """Every text in the order of the requests; the ledger is asked first, then the writer. Raises like ``explain``."""
    with Ledger(ledger) as book:
        with _alone(ledger, writer=writer, progress=progress):
            missing = set(_missing(waiting, writer=writer, book=book, again=again))
            _ask(waiting, missing, writer=writer, book=book, progress=progress)
        yield from _known(waiting, writer=writer, book=book)


def replace_texts(staging: DataLayout, rows: Iterable[dict[str, Any]]) -> int:
    """Make ``rows``, which may come from the old table, the new one, whole or not at all; returns how many."""
    with atomic_path(staging.explanations) as temporary:
        return pairs.write_rows(temporary, pairs.EXPLANATIONS, rows, name="explanations")


def estimate(
    staging: DataLayout, *, writer: Writer, ledger: Path, rights: Rights = DEFAULT_RIGHTS, again: bool = False
) -> Estimate:
    """What ``explain`` would ask and cost, told without asking anybody. Raises what it raises about bad input."""
    pairs.require_complete(staging)
    waiting = Requests(staging, pictures=writer.sees_pictures, rights=rights)
    with Ledger(ledger) as book:
        missing = set(_missing(waiting, writer=writer, book=book, again=again))
        asked, cost = 0, WriterCost()
        for request in waiting:
            asked += 1
            cost += writer.expected(request) if key_of(request, writer=writer) in missing else WriterCost()
    return Estimate(requests=asked, known=asked - len(missing), cost=cost)


@contextmanager
def _alone(ledger: Path, *, writer: Writer, progress: bool) -> Iterator[None]:
    """One run at a time for each writer and ledger: two would pay for the same answers."""
    lock = FileLock(ledger_lock(ledger, writer=pairs.digest(writer.generator)))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        if progress:
            tqdm.write(f"{ledger}: another run is at work with {writer.generator}; waiting for its answers")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


# ---------------------------------------------------------------- asking
def _looked_up(waiting: Requests, *, writer: Writer) -> Iterator[dict[str, ExplanationRequest]]:
    """Key -> request, some at once. Two entities may be called the same and know the same: one key does for both."""
    requests = iter(waiting)
    while some := list(islice(requests, LOOKED_UP_AT_ONCE)):
        yield {key_of(request, writer=writer): request for request in some}


def _missing(waiting: Requests, *, writer: Writer, book: Ledger, again: bool) -> Iterator[str]:
    """Keys of the requests that have no answer; with ``again`` also of those whose answer was set aside."""
    for some in _looked_up(waiting, writer=writer):
        known = book.known(some)
        yield from (key for key in some if key not in known or (again and known[key]))


def _ask(waiting: Requests, missing: set[str], *, writer: Writer, book: Ledger, progress: bool) -> None:
    """Every missing request to the writer, every answer into the ledger at once."""
    wanted, kept, spent, aside = len(missing), 0, WriterCost(), 0
    with tqdm(desc="explain", unit=" entities", total=wanted, disable=not progress or not missing) as bar:
        try:
            for answer in writer.write(_asked(waiting, missing, writer=writer)):
                book.keep(key_of(answer.request, writer=writer), answer, writer=writer)
                kept, spent, aside = kept + 1, spent + answer.cost, aside + bool(answer.set_aside)
                bar.set_postfix_str(_so_far(spent, aside), refresh=False)
                bar.update()
        except WriterError as error:
            left = f"{kept:,} of {wanted:,} answers came and are kept; run again for the others"
            raise type(error)(f"{error}. {left}") from error


def _asked(waiting: Requests, missing: set[str], *, writer: Writer) -> Iterator[ExplanationRequest]:
    """The missing requests, each once; ``missing`` shrinks."""
    for request in waiting if missing else ():
        key = key_of(request, writer=writer)
        if key in missing:
            missing.remove(key)
            yield waiting.with_picture(request)


def _so_far(spent: WriterCost, aside: int) -> str:
    """Spending and losses for the progress bar; nothing where there is nothing to say."""
    said = [f"{spent.tokens_in + spent.tokens_out:,} tokens"] if spent.tokens_out else []
    said += [f"cost {spent.money:.2f}"] if spent.money else []
    return ", ".join([*said, f"{aside} set aside"] if aside else said)


# ---------------------------------------------------------------- writing
def _known(waiting: Requests, *, writer: Writer, book: Ledger) -> Iterator[ExplanationRecord]:
    """Every text in the order of the requests."""
    requests = iter(waiting)
    while some := list(islice(requests, LOOKED_UP_AT_ONCE)):
        keys = [key_of(request, writer=writer) for request in some]
        known = book.get(keys)
        for request, key in zip(some, keys, strict=True):
            for text in known.get(key, ()):
                own = text.entity_id == request.entity_id
                yield text if own else record(request, text.text, writer=writer)
