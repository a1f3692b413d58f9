"""Rollback to an earlier release: data, rules, settings and model together; the service follows."""

from __future__ import annotations

from entityclip.errors import PackagingError
from entityclip.paths import Layout
from entityclip.schemas import Release
from flows.steps.deploy_release import ensure_smoke_tested, go_live
from flows.workspace.registry import (
    assign_champion,
    champion,
    fetch_release,
    release_of,
    require_not_erased,
    was_champion,
)
from flows.workspace.versions import restore


def roll_back(layout: Layout, version: str, *, reason: str) -> Release:
    """Make an earlier release the champion again and restore the workspace to it. After a kill, call it again.

    The release is smoke-tested before anything changes, and is in service before it is tagged. Later runs do not undo
    a rollback: a model that was the champion before is never promoted again.

    Args:
        layout: The workspace.
        version: A release that was the champion before.
        reason: For the history.

    Raises:
        WorkspaceError: No such release, its data were erased, or it cannot be restored.
        PackagingError: It cannot be served any more; nothing was changed.
        SwitchError: A worker cannot load the release; the others serve it, and the same command completes the rest.
    """
    release, before = release_of(layout, version), champion(layout)
    if not was_champion(layout, version):
        raise PackagingError(f"{version} was never the champion; name a version that was, see the history")
    require_not_erased(layout, release)
    ensure_smoke_tested(layout, release)
    restore(layout, release, fetch_release(layout, version, data=True))
    go_live(layout, release, take_back=False)  # one worker that fails must not keep the others on the bad release
    of = before.version if before else "nothing"
    return assign_champion(layout, version, force=True, message=f"Back from {of}: {reason}")
