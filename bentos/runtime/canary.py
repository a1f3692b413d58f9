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
from entityclip.errors import ConfigError, DataError, EntityClipError
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
        share: Share of them that gets the challenger; at least one caller, and new keys by the same rule.
        duration: Time until it ends.
        min_requests: Compared requests without which it does not end in an activation.

    Returns:
        The canary, which may have ended already under load, and the number of workers.

    Raises:
        ConfigError, DataError: The share, the package, or the state of the service does not allow a canary.
        SignatureError: The service requires a signature that the package does not have.
        SwitchError: A worker cannot load the challenger. The release in service stays.
    """
    before, workers = _startable(state, share), len(followers.living(state))
    package = active_release.whole(state, challenger)
    cards = [active_release.read_card(PackageLayout(folder)) for folder in (before.champion, package)]
    champion_version, version = (card.release.version for card in cards)
    if champion_version == version:
        raise ConfigError(f"{package}: {version} is in service already; expected another version")
    _require_memory(package, workers)
    canary_id = secrets.token_hex(4)
    below, chosen = _share_of(canary_id, callers, share)
    loaded = Live(champion=before.champion, previous=before.previous, challenger=package)
    followers.carry_out(state, lambda: active_release.write(state, loaded))  # no caller before every worker has it
    now = datetime.now(UTC)
    report = CanaryReport(
        id=canary_id,
        began=now,
        until=now + duration,
        champion=champion_version,
        challenger=version,
        package=package,
        share=share,
        callers=chosen,
    )
    plan = Canary(id=canary_id, below=below, until=report.until, min_requests=min_requests)
    return _begin(state, report, decided=loaded.model_copy(update={"canary": plan}), before=before), workers


def _begin(state: StateLayout, report: CanaryReport, *, decided: Live, before: Live) -> CanaryReport:
    """Record the canary and decide it; restore ``before`` if a worker does not follow."""
    record = CanaryRecord(state.canaries)
    try:
        record.begin(report)
        followers.carry_out(state, lambda: active_release.write(state, decided))
    except EntityClipError as error:
        live = active_release.read(state)
        if live is not None and live.challenger == report.package:
            active_release.put_back(state, before)
        ended = record.read(report.id)
        if ended is not None and ended.outcome is not None:  # under load, while this waited for the last worker
            return ended
        record.end(report.id, "rolled back", str(error))
        raise
    return report


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


def _share_of(canary_id: str, callers: Sequence[str], share: float) -> tuple[float, tuple[str, ...]]:
    """The number below which callers are in the share, and those callers: at least one, never all."""
    if len(callers) < 2:
        raise ConfigError(
            f"{len(callers)} keys may query, so that no share of the callers can be chosen; make one key per caller: "
            "entityclip keys create"
        )
    ranked = sorted(callers, key=lambda caller: canary_number(canary_id, caller))
    count = math.ceil(share * len(ranked))
    return canary_number(canary_id, ranked[count]), tuple(ranked[:count])


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
    record, activated = CanaryRecord(state.canaries), False
    try:
        if record.end(canary_id, outcome, reason):
            log.log(logging.INFO if outcome == "activated" else logging.WARNING, "canary %s: %s", outcome, reason)
        report = record.read(canary_id)
        activated = report is not None and report.outcome == "activated"
    except DataError as error:  # without its record, a canary is not activated
        log.error("canary rolled back: %s", error)
    now = active_release.read(state)
    if now is None or now.canary is None or now.canary.id != canary_id or now.challenger is None:
        return
    if activated:
        active_release.write(state, Live(champion=now.challenger, previous=now.champion))
    else:
        active_release.write(state, Live(champion=now.champion, previous=now.previous))


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
