"""The releases in a worker's memory: the one that answers, the one before it, and the one that shadows it."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from PIL import Image

from bentos import settings
from bentos.running import live, stages
from bentos.running.batching import BatchedModel, Decoder
from bentos.running.live import Live
from bentos.running.manifest import verify_files
from bentos.running.shadow import Shadow
from entityclip.errors import ConfigError, EntityClipError
from entityclip.layout import PackageLayout, StateLayout
from entityclip.predict import Predictor
from entityclip.records import Hit, PackageCard, Tag
from entityclip.storage import private_folder

LOOK_SECONDS = 0.5
READY_SECONDS = 5.0
"""How long a self-query's answer holds: anybody may ask ``/readyz``, and it must not cost more than a picture."""

log = logging.getLogger("entityclip.releases")
Found = TypeVar("Found", list[Hit], list[Tag])


@dataclass(eq=False)
class Release:
    """One release, ready to answer."""

    folder: Path
    card: PackageCard
    predictor: Predictor
    decode: Decoder
    _checked: float = -READY_SECONDS
    _ready: bool = False

    @classmethod
    def load(cls, folder: Path, *, changes: Path | None, decoders: int) -> Release:
        """Load a package and ask it once: tower, index, names. That also spares the first caller the warming up.

        Raises:
            EntityClipError: The package is damaged, its parts do not fit, or it does not find its own.
        """
        card = live.read_card(PackageLayout(folder))
        verify_files(PackageLayout(folder))
        predictor = Predictor.load(folder, changes=changes, runtime=settings.RUNTIME)
        predictor = replace(predictor, model=BatchedModel.of(predictor.model))
        release = cls(folder, card, predictor, Decoder(predictor.model, at_once=decoders))
        if not release.ready():
            raise ConfigError(f"{folder}: the model does not find an entity of its own by its name")
        return release

    @property
    def version(self) -> str:
        """Like v1.0.0."""
        return self.card.release.version

    def picture(self, upload: bytes | None) -> Image.Image | None:
        """The uploaded picture, where there is one.

        Raises:
            ImageError: It cannot be used.
        """
        return None if upload is None else self.decode(upload)

    def name_of(self, entity_id: str) -> str:
        """The entity's name.

        Raises:
            ConfigError: This release knows no such entity.
        """
        snapshot = self.predictor.catalog.now()
        found = [number for added in (True, False) for number in snapshot.numbers([entity_id], added=added)]
        if not found:
            raise ConfigError(f"entity_id {entity_id!r} is unknown to release {self.version}")
        return str(snapshot.rows(found)["entity"].iloc[0])

    def ready(self) -> bool:
        """Whether it finds an entity of its own: asked anew every few seconds at most."""
        if time.monotonic() - self._checked >= READY_SECONDS:
            self._ready = self._finds_its_own()
            self._checked = time.monotonic()
        return self._ready

    def _finds_its_own(self) -> bool:
        """The whole way: tower, index, names. A service whose last entity was removed has nothing to find."""
        tags = self.predictor.tag(Image.new("RGB", (64, 64), "white"), k=1)
        return not tags or self.predictor.search(tags[0].entity, k=1, of="entities")[0].exact


@dataclass(frozen=True)
class _Roles:
    """What ``Live`` names, loaded. Replaced whole, so that a request sees one decision."""

    champion: Release
    previous: Release | None = None
    challenger: Release | None = None
    share: float = 0.0

    def releases(self) -> dict[str, Release]:
        named = {"champion": self.champion, "previous": self.previous, "challenger": self.challenger}
        return {role: release for role, release in named.items() if release is not None}


class Releases:
    """Follows ``live.json`` of the service's state.

    Args:
        own: The package that came with the service; it answers until something else is decided.
        state: Where decisions are found; None for a service without.
        decoders: Pictures decoded at the same time by each release.

    Raises:
        EntityClipError: The release that should answer cannot be loaded. Later that is logged, and changes nothing.
    """

    def __init__(self, own: Path, *, state: StateLayout | None, decoders: int) -> None:
        self.own, self.state, self.decoders = own, state, decoders
        if state is not None:
            private_folder(state.root)
        self.shadow = Shadow(None if state is None else state.shadow)
        self._seen = self._stamp()  # before it is read: what changes meanwhile is seen as a change
        self._roles = self._loaded(self._decided_before() or Live(champion=own), known={})
        self._report(self._roles)
        if state is not None:
            threading.Thread(target=self._follow, name="releases", daemon=True).start()

    @property
    def champion(self) -> Release:
        """The release that answers the next request."""
        return self._roles.champion

    def ask(self, question: Callable[[Release], Found], *, stage: stages.Stage = "search") -> tuple[Release, Found]:
        """The champion's answer, and who gave it; the challenger may be asked the same, later and elsewhere."""
        roles = self._roles
        with stages.timed(stage):
            answer = question(roles.champion)
        if roles.challenger is not None:
            challenger = roles.challenger
            versions = (roles.champion.version, challenger.version)
            self.shadow.offer(lambda: question(challenger), answer, versions=versions, share=roles.share)
        return roles.champion, answer

    # ------------------------------------------------------------ changes
    def _decided_before(self) -> Live | None:
        """What was decided before the start. A damaged file is none: a service that answers is better than none."""
        try:
            return None if self.state is None else live.read(self.state)
        except ConfigError as error:
            log.error("the release packed with the service answers: %s", error)
            return None

    def _follow(self) -> None:
        while True:
            time.sleep(LOOK_SECONDS)
            if (stamp := self._stamp()) != self._seen:
                self._seen = stamp
                self._change()

    def _change(self) -> None:
        assert self.state is not None
        before = self._roles
        try:
            decided = live.read(self.state) or Live(champion=self.own)
            roles = self._loaded(decided, known={r.folder: r for r in before.releases().values()})
        except Exception as error:  # a package may be broken in any way, and the next decision must still be seen
            log.error("%s still answers: %s", before.champion.version, error)
            return
        if roles.previous is None and roles.champion is not before.champion:
            roles = replace(roles, previous=before.champion)
        self._roles = roles
        self._report(roles, before=before)
        log.info("%s answers, after %s", roles.champion.version, before.champion.version)

    def _loaded(self, decided: Live, *, known: dict[Path, Release]) -> _Roles:
        """The releases that ``decided`` names; those in memory are taken from there. Only the champion must load."""

        def beside(folder: Path | None) -> Release | None:
            try:
                return None if folder is None else self._release(folder, known)
            except (EntityClipError, OSError) as error:
                log.error("only the champion answers: %s", error)
                return None

        champion = self._release(decided.champion, known)
        return _Roles(champion, beside(decided.previous), beside(decided.challenger), decided.share)

    def _release(self, folder: Path, known: dict[Path, Release]) -> Release:
        if folder not in known:
            changes = None if self.state is None else self.state.entities
            known[folder] = Release.load(folder, changes=changes, decoders=self.decoders)
        return known[folder]

    def _stamp(self) -> tuple[int, int] | None:
        try:
            about = self.state.live.stat() if self.state else None
        except OSError:
            return None
        return (about.st_ino, about.st_mtime_ns) if about else None

    @staticmethod
    def _report(roles: _Roles, *, before: _Roles | None = None) -> None:
        for here, those in ((False, before), (True, roles)):
            for role, release in (those.releases() if those else {}).items():
                stages.in_memory(release.version, role=role, here=here)
