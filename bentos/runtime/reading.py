"""Reads labels in uploads, beside the threads of the requests and within a deadline."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property

from bentos.runtime import metrics
from entityclip.data.labels import LabelReader, can_read
from entityclip.errors import ConfigError, ImageError
from entityclip.schemas import Label, Reading
from entityclip.schemas.labels import Outcome, Read

log = logging.getLogger("entityclip.reading")


class Reader:
    """Reads the pictures of one request after the other, each picture with all of its threads.

    Args:
        threads: Threads of the reader.
        seconds: Longest wait of a request.
    """

    def __init__(self, *, threads: int, seconds: float) -> None:
        self.threads, self.seconds = threads, seconds
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="reader")

    @cached_property
    def _reader(self) -> LabelReader:
        """Loaded by the first request that reads; only the pool's thread uses it."""
        return LabelReader(threads=self.threads)

    def read(self, uploads: Sequence[bytes], *, read: Read) -> Reading | None:
        """The text on pictures of one thing; None if ``read`` is False.

        At the deadline the request gets what has been read, and the reader gives up the rest.

        Raises:
            ConfigError: ``read`` is True and no reader is installed.
            ImageError: A picture cannot be used.
        """
        if read is False:
            return None
        if read == "auto" and not can_read():
            return Reading(outcome="no reader")
        began, labels = time.monotonic(), list[Label]()
        outcome = self._in_time(uploads, labels, until=began + self.seconds)
        seconds = time.monotonic() - began
        metrics.observe("read", seconds)
        return Reading(outcome=outcome, labels=tuple(labels), seconds=round(seconds, 3))

    def _in_time(self, uploads: Sequence[bytes], labels: list[Label], *, until: float) -> Outcome:
        work = self._pool.submit(self._read_all, uploads, labels, until)
        try:
            return work.result(timeout=self.seconds)
        except TimeoutError:
            work.cancel()
            return "partly" if labels else "late"
        except (ImageError, ConfigError):
            raise
        except Exception as error:  # a fault of the reader must not cost the answer; its text may hold what was read
            log.error("labels were not read: %s", type(error).__name__)
            return "failed"

    def _read_all(self, uploads: Sequence[bytes], labels: list[Label], until: float) -> Outcome:
        for number, upload in enumerate(uploads):
            if (left := until - time.monotonic()) <= 0:
                return "partly" if labels else "late"
            reading = self._reader.read_file(upload, seconds=left)
            labels += [label.model_copy(update={"picture": number}) for label in reading.labels]
            if reading.outcome == "partly":
                return "partly"
        return "read"
