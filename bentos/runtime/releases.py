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
from bentos.runtime import active_release, followers, metrics
from bentos.runtime.active_release import Live
from bentos.runtime.batching import BatchedModel, Decoder
from bentos.runtime.followers import Follower
from bentos.runtime.manifest import verify_files
from bentos.runtime.shadow import Shadow
from entityclip.errors import ConfigError, EntityClipError
from entityclip.paths import PackageLayout, StateLayout
from entityclip.retrieval.predictor import Predictor
from entityclip.schemas import Hit, PackageCard, Tag
from entityclip.storage import private_folder

LOOK_SECONDS = 0.5
RETRY_SECONDS = 1.0
LONGEST_RETRY_SECONDS = 60.0
"""A decision that cannot be followed is tried again after 1, 2, 4 ... seconds, at most after so many."""

READY_SECONDS = 5.0
"""How long a self-query's answer holds: anybody may ask ``/readyz``, and it must not cost more than a picture."""

log = logging.getLogger("entityclip.releases")
Found = TypeVar("Found", list[Hit], list[Tag])


@dataclass(eq=False)
class LoadedRelease:
    """One release, ready to answer."""

    folder: Path
    card: PackageCard
    predictor: Predictor
    decode: Decoder
    _checked: float = -READY_SECONDS
    _ready: bool = False

    @classmethod
    def load(cls, folder: Path, *, changes: Path | None, decoders: int) -> LoadedRelease:
        """Load a package and ask it once: tower, index, names. That also spares the first caller the warming up.

        Raises:
            EntityClipError: The package is damaged, its parts do not fit, or it does not find its own.
        """
        card = active_release.read_card(PackageLayout(folder))
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
        return not tags or self.predictor.search(tags[0].entity, k=1, target="entities")[0].exact


@dataclass(frozen=True)
class _Roles:
    """What ``Live`` names, loaded. Replaced whole, so that a request sees one decision."""

    champion: LoadedRelease
    previous: LoadedRelease | None = None
    challenger: LoadedRelease | None = None
    share: float = 0.0

    def releases(self) -> dict[str, LoadedRelease]:
        named = {"champion": self.champion, "previous": self.previous, "challenger": self.challenger}
        return {role: release for role, release in named.items() if release is not None}


@dataclass
class _Attempt:
    """How often one decision was tried, why it failed, and when it is tried again."""

    stamp: followers.Stamp | None
    failed: str = ""
    failures: int = 0
    again: float = 0.0

    def fail(self, error: Exception) -> None:
        """Keep the reason; each next try comes after twice the time."""
        self.failed = str(error) or type(error).__name__
        self.again = time.monotonic() + min(RETRY_SECONDS * 2**self.failures, LONGEST_RETRY_SECONDS)
        self.failures += 1

    def due(self) -> bool:
        """Whether it has failed and is to be tried again."""
        return bool(self.failed) and time.monotonic() >= self.again


class Releases:
    """Follows ``live.json`` of the service's state.

    Args:
        own: The package that came with the service; it answers until something else is decided.
        state: Where decisions are found; None for a service without.
        decoders: Pictures decoded at the same time by each release.

    Raises:
        EntityClipError: Neither the release that should answer nor the service's own can be loaded.
        OSError: The state cannot be written.
    """

    def __init__(self, own: Path, *, state: StateLayout | None, decoders: int) -> None:
        self.own, self.state, self.decoders = own, state, decoders
        if state is not None:
            private_folder(state.root)
        self.shadow = Shadow(None if state is None else state.shadow)
        self._attempt = _Attempt(None if state is None else followers.stamp(state))  # before the decision is read
        self._roles = self._first()
        self._report(self._roles)
        if state is not None:
            self._status = followers.Status(state)
            self._publish()
            threading.Thread(target=self._follow, name="releases", daemon=True).start()

    @property
    def behind(self) -> bool:
        """Whether a release that was decided cannot be loaded, so that another one answers."""
        return bool(self._attempt.failed)

    @property
    def champion(self) -> LoadedRelease:
        """The release that answers the next request."""
        return self._roles.champion

    def ask(
        self, question: Callable[[LoadedRelease], Found], *, stage: metrics.Stage = "search"
    ) -> tuple[LoadedRelease, Found]:
        """The champion's answer, and who gave it; the challenger may be asked the same, later and elsewhere."""
        roles = self._roles
        with metrics.timed(stage):
            answer = question(roles.champion)
        if roles.challenger is not None:
            challenger = roles.challenger
            versions = (roles.champion.version, challenger.version)
            self.shadow.offer(lambda: question(challenger), answer, versions=versions, share=roles.share)
        return roles.champion, answer

    # ------------------------------------------------------------ changes
    def _first(self) -> _Roles:
        """What was decided before the start; else, in this order, the release before it and the service's own."""
        try:
            decided = (None if self.state is None else active_release.read(self.state)) or Live(champion=self.own)
        except ConfigError as error:  # a damaged file is none: a service that answers is better than none
            log.error("the release packed with the service answers: %s", error)
            decided = Live(champion=self.own)
        known: dict[Path, LoadedRelease] = {}
        *candidates, last = dict.fromkeys((decided.champion, decided.previous or self.own, self.own))
        for folder in candidates:
            try:
                return self._loaded(decided.model_copy(update={"champion": folder}), known)
            except Exception as error:  # as in _change
                self._attempt.fail(error)
                log.error("%s cannot answer: %s", folder, error)
        return self._loaded(decided.model_copy(update={"champion": last}), known)

    def _follow(self) -> None:
        assert self.state is not None
        while True:
            time.sleep(LOOK_SECONDS)
            try:
                if (stamp := followers.stamp(self.state)) != self._attempt.stamp:
                    self._attempt = _Attempt(stamp)
                elif not self._attempt.due():
                    continue
                self._change()
                self._publish()
            except Exception:  # a full disk, for one: this thread is the only one that sees the next decision
                log.exception("following the decisions goes on")

    def _change(self) -> None:
        """Try the decision; a failure is kept in the attempt, which then is due again."""
        assert self.state is not None
        before, attempt = self._roles, self._attempt
        failed, failures = attempt.failed, attempt.failures
        try:
            decided = active_release.read(self.state) or Live(champion=self.own)
            roles = self._loaded(decided, {r.folder: r for r in before.releases().values()})
        except Exception as error:  # a package may be broken in any way, and the next decision must still be seen
            attempt.fail(error)
            if attempt.failed != failed:
                log.error("%s still answers: %s", before.champion.version, error)
            return
        if attempt.failures == failures:
            attempt.failed = ""
        if roles.previous is None and roles.champion is not before.champion:
            roles = replace(roles, previous=before.champion)
        self._roles = roles
        self._report(roles, before=before)
        if roles.champion is not before.champion:
            log.info("%s answers, after %s", roles.champion.version, before.champion.version)

    def _publish(self) -> None:
        """Say to the metrics, and to the command that decided, what became of the decision."""
        attempt = self._attempt
        metrics.wanted_not_live(bool(attempt.failed))
        self._status.write(
            Follower(
                seen=attempt.stamp,
                release=self.champion.version,
                failed=attempt.failed,
                attempts=max(1, attempt.failures),
            )
        )

    def _loaded(self, decided: Live, known: dict[Path, LoadedRelease]) -> _Roles:
        """The releases that ``decided`` names; those in memory are taken from there. Only the champion must load.

        A challenger that cannot be loaded makes the attempt a failed one; the release before is a convenience.
        """

        def beside(folder: Path | None) -> LoadedRelease | None:
            try:
                return None if folder is None else self._release(folder, known)
            except (EntityClipError, OSError) as error:
                log.error("only the champion answers: %s", error)
                if folder == decided.challenger:
                    self._attempt.fail(error)
                return None

        champion = self._release(decided.champion, known)
        return _Roles(champion, beside(decided.previous), beside(decided.challenger), decided.share)

    def _release(self, folder: Path, known: dict[Path, LoadedRelease]) -> LoadedRelease:
        if folder not in known:
            changes = None if self.state is None else self.state.entities
            known[folder] = LoadedRelease.load(folder, changes=changes, decoders=self.decoders)
        return known[folder]

    @staticmethod
    def _report(roles: _Roles, *, before: _Roles | None = None) -> None:
        for here, those in ((False, before), (True, roles)):
            for role, release in (those.releases() if those else {}).items():
                metrics.in_memory(release.version, role=role, here=here)
