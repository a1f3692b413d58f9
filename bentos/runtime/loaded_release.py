"""One release in a worker's memory: model, index, names and thumbnails."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from PIL import Image

from bentos import settings
from bentos.runtime import active_release
from bentos.runtime.batching import BatchedModel, Decoder
from bentos.runtime.entities import entity_facts
from bentos.runtime.manifest import verify_files
from bentos.runtime.thumbnails import Thumbnails
from entityclip.errors import ConfigError
from entityclip.paths import PackageLayout
from entityclip.retrieval.predictor import Predictor
from entityclip.schemas import Hit, PackageCard, Tag

READY_SECONDS = 5.0
"""How long the result of the readiness check is cached: ``/readyz`` needs no key, so it must be cheap."""

Found = TypeVar("Found", list[Hit], list[Tag])


@dataclass(eq=False)
class LoadedRelease:
    """One loaded release."""

    folder: Path
    card: PackageCard
    predictor: Predictor
    decode: Decoder
    thumbnails: Thumbnails
    _checked: float = -READY_SECONDS
    _ready: bool = False

    @classmethod
    def load(cls, folder: Path, *, changes: Path | None, decoders: int) -> LoadedRelease:
        """Load a package and run the readiness check, which also warms it up.

        Raises:
            EntityClipError: The package is damaged, its parts do not fit together, or the check fails.
        """
        card = active_release.read_card(PackageLayout(folder))
        verify_files(PackageLayout(folder))
        predictor = Predictor.load(folder, changes=changes, runtime=settings.RUNTIME)
        predictor = replace(predictor, model=BatchedModel.of(predictor.model))
        decode = Decoder(predictor.model, max_concurrency=decoders)
        release = cls(folder, card, predictor, decode, Thumbnails.open(PackageLayout(folder).thumbnails))
        if not release.ready():
            raise ConfigError(f"{folder}: the model does not find one of its own entities by name; package it again")
        return release

    @property
    def version(self) -> str:
        """Such as v1.0.0."""
        return self.card.release.version

    def name_of(self, entity_id: str) -> str:
        """The entity's name.

        Raises:
            ConfigError: This release has no such entity.
        """
        facts = entity_facts(self.predictor, self.thumbnails, entity_id)
        if facts is None:
            raise ConfigError(f"entity_id {entity_id!r} is unknown in release {self.version}")
        return facts.entity

    def ready(self) -> bool:
        """Whether it finds one of its own entities; checked again after ``READY_SECONDS``."""
        if time.monotonic() - self._checked >= READY_SECONDS:
            self._ready = self._finds_its_own()
            self._checked = time.monotonic()
        return self._ready

    def _finds_its_own(self) -> bool:
        """Query tower, index and names once. Also true if every entity was removed."""
        tags = self.predictor.tag(Image.new("RGB", (64, 64), "white"), k=1)
        return not tags or self.predictor.search(tags[0].entity, k=1, target="entities")[0].exact
