"""Tags files by a running service."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from bentos.client import Client, ServiceError
from bentos.schemas.responses import TagAnswer
from entityclip.annotation.annotate import CHUNK, READ_CHUNK
from entityclip.annotation.picture_files import PictureFile
from entityclip.data.images import opened
from entityclip.errors import ImageError
from entityclip.explanations.pii import without_personal_data
from entityclip.schemas import Annotation, Tag
from entityclip.schemas.labels import Box

CONCURRENT = 4
"""Requests at a time: below what a key may have at a time, so that others are served, too."""

ATTEMPTS = 3
"""Requests for a picture whose labels are not read in time."""


class ServiceTagger:
    """Tags files with ``/tag`` of a service.

    Args:
        client: Of that service.
        k: Tags for each picture.
        precision: Target precision of sure tags.
        read: Whether the service reads labels, one picture at a time.

    Raises:
        ServiceError: The service refused a request for another reason than the picture, or did not answer.
    """

    chunks_at_once = 1
    """Which has ``CONCURRENT`` requests."""

    def __init__(self, client: Client, *, k: int, precision: float, read: bool = False) -> None:
        self._client, self._k, self._precision, self._reads = client, k, precision, read
        self.chunk = READ_CHUNK if read else CHUNK
        self.model = client.about().model.fingerprint

    def annotate(self, items: Sequence[PictureFile]) -> list[Annotation]:
        """One annotation for each file; some requests run at a time, but for labels, which one reader reads."""
        with ThreadPoolExecutor(1 if self._reads else CONCURRENT) as pool:
            return list(pool.map(self._annotation, items))

    def _tag(self, data: bytes) -> TagAnswer:
        """The answer; of a reader that did not read in time, as while it is loaded, the last of some."""
        for _ in range(ATTEMPTS):
            answer = self._client.tag(data, k=self._k, precision=self._precision, read=self._reads)
            if answer.reading is None or answer.reading.outcome not in ("late", "failed"):
                break
        return answer

    def _annotation(self, item: PictureFile) -> Annotation:
        if item.problem:
            return Annotation(file=item.name, release=self.model, problem=item.problem)
        try:
            data = item.read()
            with opened(data) as picture:  # so that the service is not sent what it would refuse
                width, height = picture.size
        except ImageError as error:
            return Annotation(file=item.name, release=self.model, problem=error.reason)
        try:
            answer = self._tag(data)
        except ServiceError as error:
            if error.status != 413:  # larger than the service takes
                raise
            return Annotation(file=item.name, release=self.model, problem=str(error))
        reading = answer.reading
        labels = () if reading is None else without_personal_data(reading.labels)
        left_out = {label.box for label in (() if reading is None else reading.labels) if label not in labels}
        return Annotation(
            file=item.name,
            width=width,
            height=height,
            release=answer.release,
            tags=tuple(_without(tag, left_out) for tag in answer.tags),
            labels=labels,
            reading=None if reading is None else reading.outcome,
        )


def _without(tag: Tag, boxes: set[Box]) -> Tag:
    """The tag without the evidence of lines at these places."""
    return tag.model_copy(update={"why": tuple(one for one in tag.why if one.box not in boxes)}) if boxes else tag
