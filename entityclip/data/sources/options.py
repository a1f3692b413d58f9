"""The source as commands and flows name it."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from entityclip.schemas import Record


class SourceOptions(Record):
    """Which source to read, and how; None for what the caller does not name."""

    source: str | None = Field(
        default=None,
        description="catalog (the built-in sample), grocery, table, or a published news data set.",
    )
    path: Path | None = Field(
        default=None,
        description="Folder of the data, or the picture table; without it, catalog is drawn and grocery is fetched.",
    )
    mapping: Path | None = Field(default=None, description="YAML file with a TableMapping; for table only.")
    products: int | None = Field(default=None, description="Number of products to draw; for catalog only.")
