"""Reads the labels on files, each picture once; lines with personal data are left out."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path

from entityclip.annotation.picture_files import PictureFile
from entityclip.data.label_cache import LabelCache, read_once
from entityclip.data.labels import LabelReader
from entityclip.errors import DataError, EntityClipError
from entityclip.explanations.pii import without_personal_data
from entityclip.schemas import Reading

READ_SECONDS = 20.0
"""Time budget of a picture; of a large one, that many tiles are read."""

log = logging.getLogger("entityclip.annotation")


class FileLabels:
    """Labels of files; threads may share it, and several processes the cache.

    Args:
        cache: SQLite file that keeps what was read; made where there is none.

    Raises:
        ConfigError: The extra ``labels`` is not installed.
    """

    def __init__(self, cache: Path) -> None:
        self._cache, self._reader = cache, LabelReader()

    def of(self, items: Sequence[PictureFile]) -> Iterator[Reading]:
        """What is printed on each of these pictures.

        Raises:
            ImageError: A picture cannot be used.
            DataError: The cache cannot be used.
        """
        try:
            with LabelCache(self._cache, screen=without_personal_data) as cache:
                for item in items:
                    yield self._one(item, cache)
        except sqlite3.Error as error:
            raise DataError(f"{self._cache}: the labels cannot be kept: {error}") from error

    def _one(self, item: PictureFile, cache: LabelCache) -> Reading:
        try:
            return read_once(item.read(), self._reader, cache, seconds=READ_SECONDS)
        except (EntityClipError, sqlite3.Error, ModuleNotFoundError):
            raise
        except Exception as error:  # a fault of the reader must not cost the tags
            log.warning("labels of one file were not read: %s", type(error).__name__)
            return Reading(outcome="failed")
