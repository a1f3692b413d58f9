"""Other names of entities that people gave in service, as rows that add them to the entities of a source."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from pydantic import Field

from entityclip.data.pairs import digest
from entityclip.data.sources.base import EntityRow, Provenance
from entityclip.data.sources.service_products import RESTORE
from entityclip.schemas import Record
from entityclip.storage import read_records

OTHER_NAME = "feedback: other name"
"""Value of ``reason`` of such a name."""


class OtherName(Record):
    """One other name of an entity; a row of ``names.csv``."""

    entity_id: str = Field(min_length=1)
    entity: str = Field(description="Its name in the data.")
    words: str = Field(min_length=1, description="The other name: what people searched for.")
    callers: int = Field(description="API keys that agree.")
    person: str = Field(description="Names of their owners.")
    day: str = Field(description="When the last of them did, in ISO 8601.")
    reason: str


class OtherNames:
    """The names in a file.

    Raises:
        DataError: The file is damaged; names the row.
    """

    def __init__(self, path: Path) -> None:
        self._names = read_records(path, OtherName, remedy=RESTORE)

    def __len__(self) -> int:
        return len(self._names)

    def fingerprint(self) -> str:
        """Hash of all rows."""
        return digest(*(name.model_dump_json() for name in self._names))

    def rows(self) -> Iterator[EntityRow]:
        """One row for each name; it says nothing else of its entity."""
        for number, one in enumerate(self._names, 1):
            yield EntityRow(
                entity=one.entity,
                row=number,
                aliases=(one.words,),
                entity_id=one.entity_id,
                provenance=Provenance(one.person, one.day, one.reason),
                names_only=True,
            )
