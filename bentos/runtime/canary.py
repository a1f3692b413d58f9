"""A canary: for a time, a share of the callers gets the answers of a challenger instead of the release in service.

``live.json`` holds it, so that every worker follows it as any other decision, and ``canary_record`` its figures. It
ends with an activation, or with the release in service as before. Any worker, or a command, may end it; the first one
counts.
"""

from __future__ import annotations

import logging
import math
import secrets
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from bentos.runtime import active_release, followers
from bentos.runtime.active_release import Canary, Live, canary_number
from bentos.runtime.canary_record import CanaryRecord, CanaryReport, Outcome
from entityclip.data import resources
from entityclip.errors import ConfigError, DataError, EntityClipError, SwitchError
from entityclip.paths import PackageLayout, StateLayout

MOST_SHARE = 0.5
MEMORY_FACTOR = 1.5
"""Memory of a loaded release divided by the size of its package: an estimate, with buffers of the first batches."""

log = logging.getLogger("entityclip.releases")


# ---------------------------------------------------------------- begin
def start(
    state: StateLayout,
    challenger: Path,
    *,
    callers: Sequence[str],
    share: float,
    duration: timedelta,
    min_requests: int,
) -> tuple[CanaryReport, int]:
    """Load the challenger in every worker, and then give its answers to a share of the callers.

    Args:
        state: State folder of the services.
        challenger: Folder of its package.
        callers: Ids of the keys that may query.
        share: Largest share of them that gets the challenger, but at least one caller; of a later key, its probability.
        duration: Time until it ends.
        min_requests: Compared requests without which it does not end in an activation.

    Returns:
        The canary, which may have ended already under load, and the number of workers.

    Raises:
        ConfigError, DataError: The share, the package, or the state of the service does not allow a canary.
        SignatureError: The service requires a signature that the package does not have.
        SwitchError: A worker cannot load the challenger, or another decision was made. The release in service stays.
    """
    before = _startable(state, share)
    package = active_release.whole(state, challenger)
    cards = [active_release.read_card(PackageLayout(folder)) for folder in (before.champion, package)]
    champion_version, version = (card.release.version for card in cards)
    if champion_version == version:
        raise ConfigError(f"{package}: {version} is in service already; expected another version")
    workers = len(followers.living(state))
    _require_memory(package, workers)
    canary_id = secrets.token_hex(4)
    chosen, others = _share_of(canary_id, callers, share)
    loaded = Live(champion=before.champion, previous=before.previous, challenger=package)
    try:
        _load(state, loaded, instead_of=before)  # no caller before every worker has it
        until = (began := datetime.now(UTC)) + duration
        report = CanaryReport(
            id=canary_id,
            began=began,
            until=until,
            champion=champion_version,
            challenger=version,
            package=package,
            share=share,
            callers=tuple(sorted(chosen)),
        )
        plan = Canary(id=canary_id, callers=chosen, others=others, share=share, until=until, min_requests=min_requests)
        CanaryRecord(state.canaries).begin(report)
        decided = loaded.model_copy(update={"canary": plan})
        followers.carry_out(state, lambda: _decide(state, decided, instead_of=loaded))
    except BaseException as error:  # also an interrupt: the challenger must not stay in memory
        ended = _undo(state, canary_id, error, loaded=loaded, before=before)
        if ended is None:
            raise
        return ended, workers
    return report, workers


def _load(state: StateLayout, loaded: Live, *, instead_of: Live) -> None:
    """Load the challenger in every worker.

    Raises:
        SwitchError: A worker cannot load it, or ended meanwhile, or another decision was made.
    """
    before = followers.living(state).keys()
    followers.carry_out(state, lambda: _decide(state, loaded, instead_of=instead_of))
    if ended := before - followers.living(state).keys():
        raise SwitchError(
            f"{len(ended)} of {len(before)} workers ended while they loaded {loaded.challenger}; look for their end in "
            "the service's log"
        )


def _decide(state: StateLayout, live: Live, *, instead_of: Live) -> Live:
    """Write ``live``, unless another decision than ``instead_of`` stands."""
    if active_release.read(state) != instead_of:
        raise SwitchError(f"{state.live}: another decision was made while the canary began; it stands")
    return active_release.write(state, live)


def _undo(
    state: StateLayout, canary_id: str, error: BaseException, *, loaded: Live, before: Live
) -> CanaryReport | None:
    """Put ``before`` back, unless another decision was made. Returns the canary if it has ended under load already."""
    with active_release.locked(state):
        now = active_release.read(state)
        stands = now is not None and (now == loaded or (now.canary is not None and now.canary.id == canary_id))
        if stands:
            active_release.put_back(state, before)
    record = CanaryRecord(state.canaries)
    report = record.read(canary_id)
    if report is not None and report.outcome is not None and isinstance(error, EntityClipError):
        return report
    if report is not None:
        outcome: Outcome = "rolled back" if stands else "replaced"
        record.end(canary_id, outcome, str(error) or "the command that began it was interrupted")
    return None


def _startable(state: StateLayout, share: float) -> Live:
    if not 0 < share <= MOST_SHARE:
        raise ConfigError(f"share is {share:g}; expected above 0 and at most {MOST_SHARE:g}")
    now = active_release.read(state)
    if now is None:
        raise ConfigError(
            f"{state.live}: no release was activated, so there is none to return to; "
            "activate the one in service first: entityclip release activate PACKAGE"
        )
    if now.canary is not None:
        raise ConfigError(
            f"a canary of {now.challenger} runs until {now.canary.until:%Y-%m-%d %H:%M} UTC; "
            "wait for its end, or stop it: entityclip release canary --stop"
        )
    if not followers.living(state):
        raise ConfigError(f"{state.root}: no service runs on this state folder, so no caller can get the challenger")
    return now


def _require_memory(package: Path, workers: int) -> None:
    """Refuse a challenger that does not fit into the memory beside the release in service, once per worker."""
    layout = PackageLayout(package)
    files = [path for path in package.rglob("*") if path.is_file() and path != layout.thumbnails]
    size = sum(path.stat().st_size for path in files) * MEMORY_FACTOR / 2**20
    available = resources.available_memory() / 2**20
    if workers * size > available:
        raise ConfigError(
            f"{package}: a second release needs about {workers} x {size:,.0f} MiB of memory ({workers} workers), and "
            f"{available:,.0f} MiB are available; use fewer workers (ENTITYCLIP_WORKERS) or more memory"
        )


def _share_of(canary_id: str, callers: Sequence[str], share: float) -> tuple[frozenset[str], frozenset[str]]:
    """The callers in the share, at least one and never all, and the others."""
    if len(callers) < 2:
        raise ConfigError(
            f"{len(callers)} keys may query, so that no share of the callers can be chosen; make one key per caller: "
            "entityclip keys create"
        )
    ranked = sorted(callers, key=lambda caller: canary_number(canary_id, caller))
    count = max(1, math.floor(share * len(ranked) + 1e-9))  # 0.29 * 100 is a little less than 29
    return frozenset(ranked[:count]), frozenset(ranked[count:])


# ---------------------------------------------------------------- end
def end(state: StateLayout, canary_id: str, outcome: Outcome, reason: str) -> None:
    """End a canary and apply its outcome. If it has ended already, that outcome is applied.

    Raises:
        ConfigError: The file with the decision is damaged.
    """
    now = active_release.read(state)
    if outcome == "activated" and now is not None and now.challenger is not None:
        try:
            active_release.whole(state, now.challenger)
        except EntityClipError as error:  # changed since the beginning, or no longer signed as required
            outcome, reason = "rolled back", str(error)
    with active_release.locked(state):
        now = active_release.read(state)
        runs = now is not None and now.canary is not None and now.canary.id == canary_id
        if outcome == "activated" and not runs:
            outcome, reason = "replaced", "another decision about the active release was made"
        activated = _recorded(state, canary_id, outcome, reason)
        if now is None or now.challenger is None or not runs:
            return
        if activated:
            active_release.write(state, Live(champion=now.challenger, previous=now.champion))
        else:
            active_release.write(state, Live(champion=now.champion, previous=now.previous))


def _recorded(state: StateLayout, canary_id: str, outcome: Outcome, reason: str) -> bool:
    """Record the outcome, unless there is one; whether the recorded one is an activation."""
    record = CanaryRecord(state.canaries)
    try:
        if record.end(canary_id, outcome, reason):
            log.log(logging.INFO if outcome == "activated" else logging.WARNING, "canary %s: %s", outcome, reason)
        report = record.read(canary_id)
    except DataError as error:  # without its record, a canary is not activated
        log.error("canary rolled back: %s", error)
        return False
    return report is not None and report.outcome == "activated"


def stop(state: StateLayout) -> CanaryReport:
    """End the running canary; every caller gets the release in service again.

    Raises:
        ConfigError: None runs.
        DataError: The record cannot be used.
    """
    now = active_release.read(state)
    if now is None or now.canary is None:
        raise ConfigError(f"{state.live}: no canary runs")
    end(state, now.canary.id, "stopped", "an operator stopped it")
    report = CanaryRecord(state.canaries).read(now.canary.id)
    if report is None:
        raise DataError(f"{state.canaries}: holds no canary {now.canary.id}, although it ran; it was moved away")
    return report


def conclude(state: StateLayout, plan: Canary) -> None:
    """End a canary whose time is over: activate the challenger if it was compared often enough.

    Raises:
        ConfigError: The file with the decision is damaged.
    """
    try:
        report = CanaryRecord(state.canaries).read(plan.id)
    except DataError as error:
        end(state, plan.id, "rolled back", str(error))
        return
    compared, judged = (report.compared, report.comparisons["feedback"].total) if report else (0, 0)
    if report and (alarm := report.alarm()):
        end(state, plan.id, "rolled back", alarm)
    elif compared < plan.min_requests:
        reason = f"too few requests: {compared} were compared, and an activation needs {plan.min_requests}"
        end(state, plan.id, "rolled back", reason)
    else:
        reason = f"no harm was shown in {compared} compared requests and {judged} pairs of judgements"
        end(state, plan.id, "activated", reason)
