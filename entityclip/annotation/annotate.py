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
    sure: int = Field(description="Files with a tag that reaches the target precision.")
    unknown: int
    problems: int = Field(description="Files that could not be used; the annotation says why.")


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
    with tqdm(total=len(files), initial=len(files) - len(missing), unit="file", disable=not progress) as bar:
        for start in range(0, len(missing), CHUNK):
            chunk = missing[start : start + CHUNK]
            records.put(chunk, tagger.annotate(chunk))
            bar.update(len(chunk))
    annotations = list(records.read(file.name for file in files))
    return annotations, Summary(
        files=len(files),
        new=len(missing),
        sure=sum(one.sure is not None for one in annotations),
        unknown=sum(one.unknown for one in annotations),
        problems=sum(bool(one.problem) for one in annotations),
    )
