"""Annotates files in chunks and keeps each chunk at once."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Protocol

from pydantic import Field
from tqdm import tqdm

from entityclip.annotation.picture_files import PictureFile
from entityclip.annotation.records import Records
from entityclip.schemas import Annotation, Record

CHUNK = 64
"""Files that are annotated together and kept at once; a killed run loses those in work."""

READ_CHUNK = 8
"""The same where labels are read, which takes about a second a file."""


class Tagger(Protocol):
    """A model, in this process or behind a service."""

    @property
    def model(self) -> str:
        """What tags: annotations of another one are made again."""
        ...

    @property
    def chunks_at_once(self) -> int:
        """Chunks that are worth having in work together; each is annotated by a thread."""
        ...

    @property
    def chunk(self) -> int:
        """Files that it annotates together."""
        ...

    def annotate(self, items: Sequence[PictureFile]) -> list[Annotation]:
        """One annotation for each file; one with a ``problem`` for a file that cannot be used."""
        ...


class Summary(Record):
    """What a run did, and what is known of all its files."""

    files: int
    new: int = Field(description="Annotated in this run; the others were known.")
    sure: int = Field(description="Files with a tag that reaches the target precision.")
    unknown: int
    problems: int = Field(description="Files that could not be used; the annotation says why.")
    with_text: int = Field(description="Files with text on them; 0 where labels were not read.")
    partly_read: int = Field(description="Files whose labels were not read in full; the annotation says why.")


def annotate(
    files: Sequence[PictureFile], tagger: Tagger, records: Records, *, progress: bool = False
) -> tuple[list[Annotation], Summary]:
    """Annotate those of ``files`` that are not in ``records`` yet; annotations of all of them, in their order.

    A run that was killed is continued by the same call, and gives the same annotations, since its chunks are cut at the
    same files.

    Raises:
        DataError: The records cannot be read or written.
    """
    missing = records.missing(files)
    bar = tqdm(total=len(files), initial=len(files) - len(missing), unit="file", disable=not progress)
    with bar, records.writing() as put:
        for chunk, found in _in_order(missing, tagger):
            put(chunk, found)
            bar.update(len(chunk))
    annotations = list(records.read(file.name for file in files))
    return annotations, Summary(
        files=len(files),
        new=len(missing),
        sure=sum(one.sure is not None for one in annotations),
        unknown=sum(one.unknown for one in annotations),
        problems=sum(bool(one.problem) for one in annotations),
        with_text=sum(bool(one.labels) for one in annotations),
        partly_read=sum(one.reading not in (None, "read") for one in annotations),
    )


def _in_order(
    missing: Sequence[PictureFile], tagger: Tagger
) -> Iterator[tuple[Sequence[PictureFile], list[Annotation]]]:
    """Each chunk with its annotations, in order; the next ones are in work meanwhile."""
    chunks = (missing[start : start + tagger.chunk] for start in range(0, len(missing), tagger.chunk))
    waiting: deque[tuple[Sequence[PictureFile], Future[list[Annotation]]]] = deque()
    with ThreadPoolExecutor(tagger.chunks_at_once) as pool:
        for chunk in chunks:
            waiting.append((chunk, pool.submit(tagger.annotate, chunk)))
            if len(waiting) > tagger.chunks_at_once:
                done, found = waiting.popleft()
                yield done, found.result()
        for done, found in waiting:
            yield done, found.result()
