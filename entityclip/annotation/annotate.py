"""Annotates files in chunks and keeps each chunk at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from pydantic import Field
from tqdm import tqdm

from entityclip.annotation.picture_files import PictureFile
from entityclip.annotation.records import Records
from entityclip.schemas import Annotation, Record

CHUNK = 64
"""Files that are annotated together; what a killed run loses at most."""


class Tagger(Protocol):
    """A model, in this process or behind a service."""

    @property
    def model(self) -> str:
        """What tags: annotations of another one are made again."""
        ...

    def annotate(self, items: Sequence[PictureFile]) -> list[Annotation]:
        """One annotation for each file; one with a ``problem`` for a file that cannot be used."""
        ...


class Summary(Record):
    """What a run did, and what is known of all its files."""

    files: int
    new: int = Field(description="Annotated in this run; the others were known.")
    sure: int = Field(description="Files whose first tag reaches the target precision.")
    unknown: int
    problems: int = Field(description="Files that could not be used; the annotation says why.")


def annotate(items: Sequence[PictureFile], tagger: Tagger, records: Records, *, progress: bool = False) -> Summary:
    """Annotate those of ``items`` that are not in ``records`` yet, and sum up all of them.

    A run that was killed is continued by the same call, and gives the same annotations, since its chunks are cut at the
    same files.

    Raises:
        DataError: The records cannot be read or written.
    """
    missing = records.missing(items)
    with tqdm(total=len(items), initial=len(items) - len(missing), unit="file", disable=not progress) as bar:
        for start in range(0, len(missing), CHUNK):
            chunk = missing[start : start + CHUNK]
            records.put(chunk, tagger.annotate(chunk))
            bar.update(len(chunk))
    sure = unknown = problems = 0
    for annotation in records.read(item.name for item in items):
        sure += annotation.sure is not None
        unknown += annotation.unknown
        problems += bool(annotation.problem)
    return Summary(files=len(items), new=len(missing), sure=sure, unknown=unknown, problems=problems)
