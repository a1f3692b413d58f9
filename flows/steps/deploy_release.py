"""Deploys a release: package it, smoke-test it in a process of its own, certify it, put it into service.

Nothing here needs Prefect, so that a rollback works when the Prefect server is down.
"""

from __future__ import annotations

from pathlib import Path

from bentos import settings
from bentos.build import package, smoke_test
from bentos.runtime import active_release, followers
from entityclip.errors import PackagingError
from entityclip.evaluation import promotion
from entityclip.paths import Layout, PackageLayout, StateLayout, StoreLayout
from entityclip.schemas import BentoRecord, EvalReport, Release, ServingCheck
from entityclip.settings import read_config
from flows.platform.dask_executor import mapper
from flows.workspace.registry import fetch_release
from flows.workspace.repository import Repository, exclusive


def packaged(layout: Layout, release: Release) -> BentoRecord:
    """Build a Bento from the release's own files, restored from Git and DVC; it is not smoke-tested yet.

    If the workspace names a Dask cluster, its workers embed the pictures.

    Raises:
        PackagingError, WorkspaceError: It cannot be built, or the release cannot be restored.
    """
    layout.receipt(f"smoke-{release.version}").unlink(missing_ok=True)
    copy = fetch_release(layout, release.version, data=True)
    with mapper(read_config(layout.config).runs) as map_shards:
        return package.build(
            copy.root,
            release=release,
            data=copy.data,
            store=layout.bento_home,
            map_shards=map_shards,
            vectors=layout.picture_vectors,
        )


def smoke_tested(layout: Layout, release: Release) -> BentoRecord | None:
    """The Bento of an earlier run with the result of its smoke test; None if it has to be built or tested."""
    ready = package.ready(layout.bento_home, release)
    return BentoRecord.read(layout.receipt(f"smoke-{release.version}")) if ready else None


def run_smoke_test(layout: Layout, release: Release, bento: BentoRecord) -> tuple[BentoRecord, ServingCheck]:
    """Smoke-test the Bento: serve it, compare its scores with the evaluator's, and its figures with the budgets.

    Both score the evaluation's pictures over the packaged index.

    Raises:
        PackagingError: It does not start, answers with an error, or its scores differ from the evaluator's.
    """
    from entityclip.model.onnx_runtime import decisions  # loads torch

    copy = Layout(layout.release_copy(release.version))
    evaluation = EvalReport.read(copy.report("evaluation"))
    probes = evaluation.probes if evaluation else ()
    pictures, folder = smoke_test.probe_pictures(copy.data, probes), served_package(layout, release)
    probes = smoke_test.packaged_probes(folder, probes, pictures)
    seen = smoke_test.smoke(bento.tag, store=layout.bento_home, probes=probes, pictures=pictures)
    tested = bento.model_copy(update={"largest_difference": seen.largest_difference})
    tested.write(layout.receipt(f"smoke-{release.version}"))
    serving_check = promotion.certify(
        release,
        policy=read_config(layout.config).promotion,
        largest_difference=seen.largest_difference,
        latency_ms=seen.latency_ms,
        size_mb=sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6,
        runtimes=decisions(PackageLayout(folder).checkpoint.exported),
    )
    return tested, serving_check


def certified_before(layout: Layout, release: Release) -> tuple[BentoRecord, ServingCheck] | None:
    """The Bento and serving check of an earlier run that was stopped before it made the release the champion.

    None if the Bento has to be built or tested, was refused, or was checked against other budgets.
    """
    serving_check, tested = ServingCheck.read(layout.serving_check(release.version)), smoke_tested(layout, release)
    if tested is None or serving_check is None or not serving_check.certified:
        return None
    same = serving_check.model_fingerprint == release.model_fingerprint
    return (tested, serving_check) if same and serving_check.policy == read_config(layout.config).promotion else None


def ensure_smoke_tested(layout: Layout, release: Release) -> None:
    """Build and smoke-test a release again if its Bento was deleted. Budgets are not enforced: it was certified before.

    Raises:
        PackagingError: It cannot be served any more; the refusal is recorded.
    """
    if smoke_tested(layout, release) is not None:
        return
    try:
        _, serving_check = run_smoke_test(layout, release, packaged(layout, release))
    except PackagingError as error:
        record_serving_check(layout, unservable(layout, release, error))
        raise
    record_serving_check(layout, serving_check)


def unservable(layout: Layout, release: Release, error: PackagingError) -> ServingCheck:
    """The refusal of a release that could not be packaged or failed its smoke test."""
    return ServingCheck(
        certified=False,
        reasons=(str(error),),
        version=release.version,
        model_fingerprint=release.model_fingerprint,
        largest_difference=None,
        latency_ms=None,
        size_mb=None,
        policy=read_config(layout.config).promotion,
    )


def record_serving_check(layout: Layout, serving_check: ServingCheck) -> None:
    """Commit the serving check, passed or not; it is kept permanently."""
    path = layout.serving_check(serving_check.version)
    with exclusive(layout):
        serving_check.write(path)
        verdict = "can be served" if serving_check.certified else "must not be served"
        Repository(layout.root).commit(f"{serving_check.version} {verdict}", [path])


# ---------------------------------------------------------------- live
def state_of(layout: Layout) -> StateLayout:
    """The state of the service that follows this workspace: ``ENTITYCLIP_STATE``, or a folder in the workspace."""
    return settings.state() or layout.service


def served_package(layout: Layout, release: Release) -> Path:
    """The package that services load; BentoML keeps it in the workspace's store."""
    return StoreLayout(layout.bento_home.resolve()).model(release.version).root


def go_live(layout: Layout, release: Release, *, take_back: bool = True) -> None:
    """Switch every service of this workspace to the release and wait for it; no request is dropped.

    Args:
        layout: The workspace.
        release: Which one.
        take_back: Whether to switch back to the previous release if a worker cannot load this one.

    Raises:
        SwitchError: A worker of a running service cannot load it; carries the reason.
        ConfigError, DataError: The release is not packaged here, or the package is damaged.
    """
    state, package = state_of(layout), served_package(layout, release)
    followers.carry_out(state, lambda: active_release.switch(state, package), take_back=take_back)
