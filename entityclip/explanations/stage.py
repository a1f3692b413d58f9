"""The explain stage: reads the entities in staging, writes their explanations, and looks answers up in the ledger."""

from __future__ import annotations

import re
from collections import Counter
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
from entityclip.explanations.work_items import Requests, WorkItems
from entityclip.paths import DataLayout
from entityclip.paths.workspace import ledger_lock
from entityclip.schemas import ExplanationRecord, ExplanationRequest, Record
from entityclip.storage import atomic_path

LOOKUP_BATCH = 256
_NUMBER = re.compile(r"\d[\d,.]*\b")


class Estimate(Record):
    """Number of requests and cost of a run."""

    requests: int
    known: int = Field(description="Requests whose answer is in the ledger; they cost nothing.")
    cost: WriterCost = Field(description="Estimated cost of the other requests.")


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

    Answers in the ledger are not requested again, so a run that was killed continues where it stopped. Rows have the
    order of the entity table, and the table is replaced atomically. A second run with the same writer and ledger
    waits for the first and then finds its answers.

    Args:
        staging: What ``ingest`` wrote.
        writer: Writes the texts.
        ledger: SQLite file that stores every answer; created if missing.
        rights: Which rows may be used; the writer receives nothing of the others.
        progress: Show a progress bar with rate, remaining time and cost.
        again: Repeat requests whose earlier answer was rejected.

    Returns:
        Number of texts.

    Raises:
        DataError: Staging is missing or incomplete, or the ledger file is not a ledger.
        WriterError: Some requests have no answer, or every answer was rejected; the ledger keeps them, and no table is
            written.
    """
    pairs.require_complete(staging)
    waiting = Requests(staging, pictures=writer.sees_pictures, rights=rights)
    texts = answered(waiting, writer=writer, ledger=ledger, progress=progress, again=again)
    return replace_texts(staging, (text.model_dump() for text in _some(texts, waiting, writer=writer, ledger=ledger)))


def _some(
    texts: Iterator[ExplanationRecord], waiting: Requests, *, writer: Writer, ledger: Path
) -> Iterator[ExplanationRecord]:
    """``texts``, unless there is none and the replies of the writer were rejected."""
    first = next(texts, None)
    if first is not None:
        yield first
        yield from texts
        return
    reasons = rejections(waiting, writer=writer, ledger=ledger)
    if reasons:
        why, times = reasons.most_common(1)[0]
        raise WriterError(
            f"{writer.generator}: all {reasons.total():,} replies were rejected, {times:,} of them because: {why}; "
            "check the explain settings, then repeat the requests with 'entityclip explain DIR --again'"
        )


def rejections(waiting: Requests, *, writer: Writer, ledger: Path) -> Counter[str]:
    """Why replies to these requests were rejected -> how many; numbers in the reasons are left out."""
    reasons: Counter[str] = Counter()
    with Ledger(ledger) as book:
        for some in _keyed_batches(waiting, writer=writer):
            reasons.update(_NUMBER.sub("N", why) for why in book.known(some).values() if why)
    return reasons


def answered(
    waiting: Requests, *, writer: Writer, ledger: Path, progress: bool = False, again: bool = False
) -> Iterator[ExplanationRecord]:
    """Yield every text in the order of the requests, from the ledger or the writer. Raises like ``explain``."""
    send_missing(waiting, writer=writer, ledger=ledger, progress=progress, again=again)
    with Ledger(ledger) as book:
        yield from _known(waiting, writer=writer, book=book)


def send_missing(
    waiting: WorkItems,
    *,
    writer: Writer,
    ledger: Path,
    progress: bool = False,
    again: bool = False,
    what: str = "explain",
) -> None:
    """Send every request without an answer in the ledger to ``writer``. Raises like ``explain``.

    Args:
        waiting: The requests.
        writer: Answers them.
        ledger: See ``explain``; ``progress`` and ``again`` likewise.
        progress: See there.
        again: See there.
        what: Title of the progress bar.
    """
    with Ledger(ledger) as book, _exclusive(ledger, writer=writer, progress=progress):
        missing = set(_missing(waiting, writer=writer, book=book, again=again))
        _request_missing(waiting, missing, writer=writer, book=book, bar=what if progress else "")


def replace_texts(staging: DataLayout, rows: Iterable[dict[str, Any]]) -> int:
    """Replace the table atomically by ``rows``, which may be read from it; returns their number."""
    with atomic_path(staging.explanations) as temporary:
        return pairs.write_rows(temporary, pairs.EXPLANATIONS, rows, name="explanations")


def estimate(
    staging: DataLayout, *, writer: Writer, ledger: Path, rights: Rights = DEFAULT_RIGHTS, again: bool = False
) -> Estimate:
    """Number of requests and cost of ``explain``; sends no request. Raises like ``explain`` on bad input."""
    pairs.require_complete(staging)
    waiting = Requests(staging, pictures=writer.sees_pictures, rights=rights)
    return estimate_requests(waiting, writer=writer, ledger=ledger, again=again)


def estimate_requests(waiting: Requests, *, writer: Writer, ledger: Path, again: bool = False) -> Estimate:
    """Number and cost of these requests; sends none."""
    with Ledger(ledger) as book:
        missing = set(_missing(waiting, writer=writer, book=book, again=again))
        requests, cost = 0, WriterCost()
        for request in waiting:
            requests += 1
            cost += writer.expected(request) if key_of(request, writer=writer) in missing else WriterCost()
    return Estimate(requests=requests, known=requests - len(missing), cost=cost)


@contextmanager
def _exclusive(ledger: Path, *, writer: Writer, progress: bool) -> Iterator[None]:
    """Hold a lock per writer and ledger, so that two runs do not pay for the same answers."""
    lock = FileLock(ledger_lock(ledger, writer=pairs.digest(writer.generator)))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        if progress:
            tqdm.write(f"{ledger}: another run uses {writer.generator}; waiting for its answers")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


# ---------------------------------------------------------------- requests
def _keyed_batches(waiting: WorkItems, *, writer: Writer) -> Iterator[dict[str, ExplanationRequest]]:
    """Batches of key -> request. Entities with the same name and fields share a key."""
    requests = iter(waiting)
    while some := list(islice(requests, LOOKUP_BATCH)):
        yield {key_of(request, writer=writer): request for request in some}


def _missing(waiting: WorkItems, *, writer: Writer, book: Ledger, again: bool) -> Iterator[str]:
    """Keys of the requests without an answer; with ``again`` also of those whose answer was rejected."""
    for some in _keyed_batches(waiting, writer=writer):
        known = book.known(some)
        yield from (key for key in some if key not in known or (again and known[key]))


def _request_missing(waiting: WorkItems, missing: set[str], *, writer: Writer, book: Ledger, bar: str) -> None:
    """Send every missing request to the writer and store each answer in the ledger as it arrives; ``bar`` is the title
    of a progress bar."""
    wanted, kept, spent, aside = len(missing), 0, WriterCost(), 0
    with tqdm(desc=bar, unit=" requests", total=wanted, disable=not bar or not missing) as progress:
        try:
            for answer in writer.write(_missing_requests(waiting, missing, writer=writer)):
                book.keep(key_of(answer.request, writer=writer), answer, writer=writer)
                kept, spent, aside = kept + 1, spent + answer.cost, aside + bool(answer.rejected)
                progress.set_postfix_str(_so_far(spent, aside), refresh=False)
                progress.update()
        except WriterError as error:
            left = f"{kept:,} of {wanted:,} answers are in the ledger; run again for the others"
            raise type(error)(f"{error}. {left}") from error


def _missing_requests(waiting: WorkItems, missing: set[str], *, writer: Writer) -> Iterator[ExplanationRequest]:
    """Yield each missing request once; removes its key from ``missing``."""
    for request in waiting if missing else ():
        key = key_of(request, writer=writer)
        if key in missing:
            missing.remove(key)
            yield waiting.with_pictures(request)


def _so_far(spent: WriterCost, aside: int) -> str:
    """Cost and number of rejected answers, for the progress bar."""
    parts = [f"{spent.tokens_in + spent.tokens_out:,} tokens"] if spent.tokens_out else []
    parts += [f"cost {spent.money:.2f}"] if spent.money else []
    return ", ".join([*parts, f"{aside} rejected"] if aside else parts)


# ---------------------------------------------------------------- writing
def _known(waiting: Requests, *, writer: Writer, book: Ledger) -> Iterator[ExplanationRecord]:
    """Yield every text in the order of the requests."""
    requests = iter(waiting)
    while some := list(islice(requests, LOOKUP_BATCH)):
        keys = [key_of(request, writer=writer) for request in some]
        known = book.get(keys)
        for request, key in zip(some, keys, strict=True):
            for text in known.get(key, ()):
                own = text.entity_id == request.entity_id
                same = text if own else record(request, text.text, writer=writer)
                yield same.model_copy(update={"doubts": text.doubts})
