"""Answers of the release that was in service when the server started, beside an item that a person decides about."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING, NamedTuple

from bentos.runtime import active_release
from bentos.schemas.requests import LONGEST_TEXT
from entityclip.data.images import decode
from entityclip.errors import EntityClipError
from entityclip.paths import StateLayout

if TYPE_CHECKING:
    from entityclip.retrieval.predictor import Predictor

CANDIDATES = 5
log = logging.getLogger(__name__)


class ModelAnswer(NamedTuple):
    """One entity that the model takes for the right one."""

    entity_id: str
    entity: str
    score: float
    confidence: float | None
    evidence: str


class ModelView:
    """The model of the release that is in service when this is made; a later release does not replace it.

    It is loaded in the background, so that pages answer at once.

    Args:
        state: State folder that names the release; without one, and until the model is loaded, it answers nothing.
    """

    def __init__(self, state: StateLayout) -> None:
        self._predictor: Predictor | None = None
        threading.Thread(target=self._load, args=(state,), name="model", daemon=True).start()

    def of_text(self, text: str) -> list[ModelAnswer]:
        """Entities that a text describes, the most similar first."""
        if self._predictor is None or not text.strip():
            return []
        hits = self._predictor.search(text[:LONGEST_TEXT], k=CANDIDATES, target="entities")
        return [ModelAnswer(hit.entity_id, hit.entity, hit.score, None, _evidence(hit.why)) for hit in hits]

    def of_picture(self, picture: bytes) -> list[ModelAnswer]:
        """Entities that a picture shows, the most likely first.

        Raises:
            ImageError: It is no picture.
        """
        if self._predictor is None:
            return []
        tags = self._predictor.tag(decode(picture), k=CANDIDATES)
        return [ModelAnswer(tag.entity_id, tag.entity, tag.score, tag.confidence, _evidence(tag.why)) for tag in tags]

    def _load(self, state: StateLayout) -> None:
        try:
            live = active_release.read(state)
            if live is not None:
                from entityclip.retrieval.predictor import Predictor  # loads torch

                self._predictor = Predictor.load(live.champion)
        except (EntityClipError, OSError) as error:
            log.warning("the pages show no answers of the model: %s", error)


def _evidence(why: tuple) -> str:
    return next((one.text for one in why if one.text), "")
