"""Going back to an earlier release: data, rules, settings and model as one, and the service follows."""

from __future__ import annotations

from entityclip.errors import PackagingError
from entityclip.paths import Layout
from entityclip.schemas import Release
from flows.steps.deploy_release import ensure_proved, go_live
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
    """Make an earlier release the champion again, and the workspace what it was then. Killed, it is run again.

    The release is proved before anything changes, and answers before its tag says so. Later runs do not undo it: a
    model that was the champion before never becomes it again by itself.

    Args:
        layout: The workspace.
        version: A release that was the champion before.
        reason: For the history.

    Raises:
        WorkspaceError: No such release, its data were erased, or it cannot be brought back.
        PackagingError: It cannot be served any more; nothing was changed.
        SwitchError: A worker cannot follow; the others answer with it, and the same command completes the rest.
    """
    release, before = release_of(layout, version), champion(layout)
    if not was_champion(layout, version):
        raise PackagingError(f"{version} never was the champion, so nothing proves it; go back to one that was")
    require_not_erased(layout, release)
    ensure_proved(layout, release)
    restore(layout, release, fetch_release(layout, version, data=True))
    go_live(layout, release, take_back=False)  # a worker that cannot follow must not keep the others on the bad one
    of = before.version if before else "nothing"
    return assign_champion(layout, version, force=True, message=f"Back from {of}: {reason}")
