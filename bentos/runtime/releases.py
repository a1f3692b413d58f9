"""Releases in a worker's memory: champion, previous release and challenger."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from bentos.runtime import active_release, canary, followers, metrics
from bentos.runtime.active_release import Canary, Live
from bentos.runtime.canary_worker import CanaryWorker
from bentos.runtime.feedback import Feedback
from bentos.runtime.followers import Follower
from bentos.runtime.loaded_release import Found, LoadedRelease
from bentos.runtime.shadow import Shadow
from entityclip.errors import ConfigError, EntityClipError
from entityclip.paths import StateLayout
from entityclip.storage import private_folder

LOOK_SECONDS = 0.5
RETRY_SECONDS = 1.0
LONGEST_RETRY_SECONDS = 60.0
"""A failed decision is retried after 1, 2, 4 ... seconds, at most after this many."""

log = logging.getLogger("entityclip.releases")


@dataclass(frozen=True)
class _Roles:
    """The loaded releases of ``Live``. Replaced as a whole, so that a request sees one decision."""

    champion: LoadedRelease
    previous: LoadedRelease | None = None
    challenger: LoadedRelease | None = None
    share: float = 0.0
    canary: Canary | None = None

    def releases(self) -> dict[str, LoadedRelease]:
        named = {"champion": self.champion, "previous": self.previous, "challenger": self.challenger}
        return {role: release for role, release in named.items() if release is not None}


@dataclass
class _Attempt:
    """Attempts to apply one decision: failures, the last reason, and the time of the next attempt."""

    stamp: followers.Stamp | None
    failed: str = ""
    failures: int = 0
    again: float = 0.0

    def fail(self, error: Exception) -> None:
        """Record the reason and schedule the next attempt with exponential backoff."""
        self.failed = str(error) or type(error).__name__
        self.again = time.monotonic() + min(RETRY_SECONDS * 2**self.failures, LONGEST_RETRY_SECONDS)
        self.failures += 1

    def due(self) -> bool:
        """Whether a failed decision is due for the next attempt."""
        return bool(self.failed) and time.monotonic() >= self.again


class Releases:
    """Loads the releases that ``live.json`` in the state folder names, and follows its changes.

    Args:
        own: The package that came with the service; served if there is no decision.
        state: State folder; None for a service without one.
        decoders: Pictures that each release decodes at the same time.

    Raises:
        EntityClipError: Neither the decided release nor the service's own can be loaded.
        OSError: The state folder is not writable.
    """

    def __init__(self, own: Path, *, state: StateLayout | None, decoders: int) -> None:
        self.own, self.state, self.decoders = own, state, decoders
        if state is not None:
            private_folder(state.root)
        self.shadow = Shadow(None if state is None else state.shadow)
        self.canary = None if state is None else CanaryWorker(state)
        self._before_loading()
        self._attempt = _Attempt(None if state is None else followers.stamp(state))  # before the decision is read
        self._roles = self._first()
        self._report(self._roles)
        if state is not None:
            self._status = followers.Status(state)
            self._publish()
            threading.Thread(target=self._follow, name="releases", daemon=True).start()

    @property
    def behind(self) -> bool:
        """Whether the decided release cannot be loaded, so that another one serves requests."""
        return bool(self._attempt.failed)

    @property
    def champion(self) -> LoadedRelease:
        """The release that serves the next request."""
        return self._roles.champion

    def query(
        self, query: Callable[[LoadedRelease], Found], *, stage: metrics.Stage = "search", caller: str = ""
    ) -> tuple[LoadedRelease, Found]:
        """The champion and its answer, or those of the challenger if ``caller`` is in the share of a canary.

        The other release may get the same query later, in another thread.
        """
        roles = self._roles
        if self.canary and roles.canary and roles.challenger and self.canary.takes(roles.canary, caller):
            return self.canary.answer(
                query, plan=roles.canary, champion=roles.champion, challenger=roles.challenger, stage=stage
            )
        with metrics.timed(stage):
            answer = query(roles.champion)
        if roles.challenger is not None:
            challenger = roles.challenger
            versions = (roles.champion.version, challenger.version)
            self.shadow.offer(lambda: query(challenger), answer, versions=versions, share=roles.share)
        return roles.champion, answer

    def answered_by(self, version: str) -> LoadedRelease:
        """The release of an earlier answer; the champion if it is no longer in memory."""
        roles = self._roles
        return next((r for r in roles.releases().values() if r.version == version), roles.champion)

    def judged(self, feedback: Feedback) -> None:
        """Count a judgement in the canary, if one runs and the answer was of one of its releases.

        Callers outside the share, who get no answer of the challenger, do not judge it.
        """
        roles = self._roles
        if self.canary and roles.canary and roles.challenger:
            if feedback.release == roles.champion.version:
                self.canary.judged(roles.canary, feedback, arm="champion")
            elif feedback.release == roles.challenger.version and roles.canary.includes(feedback.key):
                self.canary.judged(roles.canary, feedback, arm="challenger")

    # ------------------------------------------------------------ changes
    def _before_loading(self) -> None:
        """End a canary whose time is over, and count the start in one that runs: loading may end the process."""
        if self.state is None or self.canary is None:
            return
        try:
            decided = active_release.read(self.state)
            plan = None if decided is None else decided.canary
            if plan is not None and datetime.now(UTC) >= plan.until:
                canary.conclude(self.state, plan)
            elif plan is not None:
                self.canary.started(plan)
        except EntityClipError as error:  # a damaged decision counts as none, as in _first
            log.error("%s", error)

    def _first(self) -> _Roles:
        """The releases at the start: the decided one, else the previous one, else the service's own."""
        try:
            decided = (None if self.state is None else active_release.read(self.state)) or Live(champion=self.own)
        except ConfigError as error:  # a damaged file counts as none, so that the service starts
            log.error("serving the release packed with the service: %s", error)
            decided = Live(champion=self.own)
        known: dict[Path, LoadedRelease] = {}
        *candidates, last = dict.fromkeys((decided.champion, decided.previous or self.own, self.own))
        for folder in candidates:
            try:
                return self._loaded(decided.model_copy(update={"champion": folder}), known)
            except Exception as error:  # as in _change
                self._attempt.fail(error)
                log.error("%s cannot be served: %s", folder, error)
        return self._loaded(decided.model_copy(update={"champion": last}), known)

    def _follow(self) -> None:
        assert self.state is not None
        while True:
            time.sleep(LOOK_SECONDS)
            try:
                self._end_canary()
                if (stamp := followers.stamp(self.state)) != self._attempt.stamp:
                    self._attempt = _Attempt(stamp)
                elif not self._attempt.due():
                    continue
                self._change()
                self._publish()
            except Exception:  # such as a full disk; this thread must survive to see the next decision
                log.exception("a decision was not applied; the next one will be tried")

    def _change(self) -> None:
        """Try to apply the decision; a failure is recorded in the attempt and retried later."""
        assert self.state is not None
        before, attempt = self._roles, self._attempt
        failed, failures = attempt.failed, attempt.failures
        try:
            decided = active_release.read(self.state) or Live(champion=self.own)
            roles = self._loaded(decided, {r.folder: r for r in before.releases().values()})
        except Exception as error:  # a package may be broken in any way, and the thread must survive
            attempt.fail(error)
            if attempt.failed != failed:
                log.error("still serving %s: %s", before.champion.version, error)
            return
        if attempt.failures == failures:
            attempt.failed = ""
        if roles.previous is None and roles.champion is not before.champion:
            roles = replace(roles, previous=before.champion)
        self._roles = roles
        if before.canary and roles.canary != before.canary:
            canary.end(self.state, before.canary.id, "replaced", "another decision about the active release was made")
        self._report(roles, before=before)
        if roles.champion is not before.champion:
            log.info("serving %s, before %s", roles.champion.version, before.champion.version)

    def _end_canary(self) -> None:
        """End the canary if its time is over, or if this worker cannot load the challenger."""
        plan = self._roles.canary
        if self.state is None or plan is None:
            return
        if datetime.now(UTC) >= plan.until:
            canary.conclude(self.state, plan)
        elif self._roles.challenger is None and self._attempt.failures >= followers.GIVEN_UP:
            canary.end(self.state, plan.id, "rolled back", f"a worker cannot load it: {self._attempt.failed}")

    def _publish(self) -> None:
        """Publish the result of the decision to the metrics and to the command that made it."""
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
        """Load the releases of ``decided``; reuse those in ``known``. Only the champion must load.

        A challenger that cannot be loaded fails the attempt; a previous release that cannot be loaded does not.
        """

        def beside(folder: Path | None) -> LoadedRelease | None:
            try:
                return None if folder is None else self._release(folder, known)
            except Exception as error:  # as in _change
                log.error("serving the champion only: %s", error)
                if folder == decided.challenger:
                    self._attempt.fail(error)
                return None

        champion = self._release(decided.champion, known)
        previous, challenger = beside(decided.previous), beside(decided.challenger)
        return _Roles(champion, previous, challenger, decided.share, decided.canary)

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
