"""Tags files by a running service."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from bentos.client import Client, ServiceError
from entityclip.annotation.picture_files import PictureFile
from entityclip.data.images import opened
from entityclip.errors import ImageError
from entityclip.schemas import Annotation

CONCURRENT = 4
"""Requests at a time: below what a key may have at a time, so that others are served, too."""


class ServiceTagger:
    """Tags files with ``/tag`` of a service.

    Args:
        client: Of that service.
        k: Tags for each picture.
        precision: Target precision of sure tags.

    Raises:
        ServiceError: The service refused a request for another reason than the picture, or did not answer.
    """

    chunks_at_once = 1
    """Which has ``CONCURRENT`` requests."""

    def __init__(self, client: Client, *, k: int, precision: float) -> None:
        self._client, self._k, self._precision = client, k, precision
        self.model = client.about().model.fingerprint

    def annotate(self, items: Sequence[PictureFile]) -> list[Annotation]:
        """One annotation for each file; some requests run at a time."""
        with ThreadPoolExecutor(CONCURRENT) as pool:
            return list(pool.map(self._annotation, items))

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
            answer = self._client.tag(data, k=self._k, precision=self._precision)
        except ServiceError as error:
            if error.status != 413:  # larger than the service takes
                raise
            return Annotation(file=item.name, release=self.model, problem=str(error))
        return Annotation(file=item.name, width=width, height=height, release=answer.release, tags=tuple(answer.tags))
