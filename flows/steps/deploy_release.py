"""From a release to what answers: packaged, proved in a process of its own, blessed or not, put live.

None of this needs Prefect: a rollback has to work in the night when nothing else does.
"""

from __future__ import annotations

from pathlib import Path

from bentos import settings
from bentos.build import package, smoke_test
from bentos.runtime import active_release, followers
from entityclip.errors import PackagingError
from entityclip.evaluation import promotion
from entityclip.paths import Layout, StateLayout, StoreLayout
from entityclip.schemas import BentoRecord, Blessing, EvalReport, Release
from entityclip.settings import read_config
from flows.platform.dask_executor import spread
from flows.workspace.registry import fetch_release
from flows.workspace.repository import Repository, exclusive


def packaged(layout: Layout, release: Release) -> BentoRecord:
    """A Bento from the release's own files, brought back from Git and DVC; it has yet to be proved.

    Where the workspace names a Dask cluster, its workers embed the pictures.

    Raises:
        PackagingError, WorkspaceError: It cannot be built, or the release cannot be brought back.
    """
    layout.receipt(f"smoke-{release.version}").unlink(missing_ok=True)
    copy = fetch_release(layout, release.version, data=True)
    with spread(read_config(layout.config).runs) as over:
        return package.build(copy.root, release=release, data=copy.data, store=layout.bento_home, over=over)


def proof(layout: Layout, release: Release) -> BentoRecord | None:
    """The Bento of an earlier run with what its smoke test saw; None where it has to be built or proved."""
    ready = package.ready(layout.bento_home, release)
    return BentoRecord.read(layout.receipt(f"smoke-{release.version}")) if ready else None


def prove(layout: Layout, release: Release, bento: BentoRecord) -> tuple[BentoRecord, Blessing]:
    """Serve the Bento, compare its scores with the evaluator's, and hold its figures against the budgets.

    Raises:
        PackagingError: It does not start, refuses, or scores otherwise.
    """
    copy = Layout(layout.release_copy(release.version))
    evaluation = EvalReport.read(copy.report("evaluation"))
    probes = evaluation.probes if evaluation else ()
    pictures = smoke_test.probe_pictures(copy.data, probes)
    seen = smoke_test.smoke(bento.tag, store=layout.bento_home, probes=probes, pictures=pictures)
    proved = bento.model_copy(update={"largest_difference": seen.largest_difference})
    proved.write(layout.receipt(f"smoke-{release.version}"))
    folder = served_package(layout, release)
    blessing = promotion.bless(
        release,
        policy=read_config(layout.config).promotion,
        largest_difference=seen.largest_difference,
        latency_ms=seen.latency_ms,
        size_mb=sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6,
    )
    return proved, blessing


def blessed_before(layout: Layout, release: Release) -> tuple[BentoRecord, Blessing] | None:
    """The proved Bento and its blessing, where an earlier run was stopped before it could make the release champion.

    None where it has to be built or proved, was refused, or was held against budgets that are no longer those.
    """
    blessing, proved = Blessing.read(layout.blessing(release.version)), proof(layout, release)
    if proved is None or blessing is None or not blessing.blessed:
        return None
    same = blessing.model_fingerprint == release.model_fingerprint
    return (proved, blessing) if same and blessing.policy == read_config(layout.config).promotion else None


def ensure_proved(layout: Layout, release: Release) -> None:
    """Build and prove a release again, where that was cleaned away. Budgets refuse nothing here: it was blessed before.

    Raises:
        PackagingError: It cannot be served any more; that is recorded.
    """
    if proof(layout, release) is not None:
        return
    try:
        _, blessing = prove(layout, release, packaged(layout, release))
    except PackagingError as error:
        record_blessing(layout, unservable(layout, release, error))
        raise
    record_blessing(layout, blessing)


def unservable(layout: Layout, release: Release, error: PackagingError) -> Blessing:
    """The refusal of a release that could not be packaged, or did not answer its smoke test."""
    return Blessing(
        blessed=False,
        reasons=(str(error),),
        version=release.version,
        model_fingerprint=release.model_fingerprint,
        largest_difference=None,
        latency_ms=None,
        size_mb=None,
        policy=read_config(layout.config).promotion,
    )


def record_blessing(layout: Layout, blessing: Blessing) -> None:
    """Keep the blessing, or the refusal, for ever: in a commit of its own."""
    path = layout.blessing(blessing.version)
    with exclusive(layout):
        blessing.write(path)
        said = "can be served" if blessing.blessed else "is not to be served"
        Repository(layout.root).commit(f"{blessing.version} {said}", [path])


# ---------------------------------------------------------------- live
def state_of(layout: Layout) -> StateLayout:
    """The state of the service that follows this workspace: ``ENTITYCLIP_STATE``, or a folder in the workspace."""
    return settings.state() or layout.service


def served_package(layout: Layout, release: Release) -> Path:
    """The package that services load; BentoML keeps it in the workspace's store."""
    return StoreLayout(layout.bento_home.resolve()).model(release.version).root


def go_live(layout: Layout, release: Release, *, take_back: bool = True) -> None:
    """Let every service of this workspace answer with the release, and wait until they do; no request is dropped.

    Args:
        layout: The workspace.
        release: Which one.
        take_back: Whether the release before answers again where a worker cannot follow.

    Raises:
        SwitchError: A worker of a running service cannot follow; carries the reason.
        ConfigError, DataError: The release is not packaged here, or the package is damaged.
    """
    state, package = state_of(layout), served_package(layout, release)
    followers.carry_out(state, lambda: active_release.switch(state, package), take_back=take_back)
