"""Monitors drift: compares recent requests to the service with the data of its release.

Run it by hand with ``entityclip monitor --workspace DIR --state STATE``; for the schedule see ``prefect.yaml``.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pandas as pd
from prefect import flow, get_run_logger, task
from prefect.artifacts import create_link_artifact, create_table_artifact
from prefect.cache_policies import NO_CACHE

from bentos import settings
from bentos.runtime.samples import Samples
from entityclip.data.pairs import digest
from entityclip.model.checkpoint import load
from entityclip.monitoring.baseline import baseline, drift_sample
from entityclip.monitoring.drift import NUMBERS, DriftReport, compare
from entityclip.paths import Layout, StateLayout, StoreLayout
from entityclip.reports.pages import as_markup, write_page
from entityclip.reports.plots import distributions
from entityclip.retrieval.index import EntityIndex
from entityclip.schemas import Release
from entityclip.settings import read_config
from entityclip.storage import atomic_path
from flows.platform.telemetry import observed
from flows.workspace.registry import champion, fetch_release
from flows.workspace.triggers import announce


@flow(name="monitor", log_prints=True)
def monitor(workspace: Path = Path("build/workspace"), state: Path | None = None) -> DriftReport | None:
    """Compare the service's samples with the champion's data; when something begins to drift, alert once.

    Args:
        workspace: The workspace whose champion is in service.
        state: The service's state folder; by default the one that ENTITYCLIP_STATE names, else the workspace's.

    Returns:
        None before the first release.
    """
    layout = Layout(workspace.resolve())
    served = StateLayout(state) if state else settings.state() or layout.service
    current = champion(layout) if layout.rules.exists() else None
    if current is None:
        get_run_logger().info("%s: there is no champion yet, so there is nothing to monitor", layout.root)
        return None
    with observed(layout, "monitor") as run:
        run.data_hash = current.data_hash
        ensure_baseline(layout, current)
        report = measure_drift(layout, current, served)
        publish(layout, report)
        run.figures |= {("drift", test.what): test.value for test in report.tests}
        run.figures |= {("drifted", test.what): float(test.drifted) for test in report.tests}
    return report


@task(cache_policy=NO_CACHE)
def ensure_baseline(layout: Layout, release: Release) -> None:
    """Compute the baseline of a release when it is first monitored."""
    watch = layout.watch(release.version)
    if watch.baseline.exists():
        return
    copy = fetch_release(layout, release.version, data=True)
    frame = baseline(load(copy.model), copy.data)
    with atomic_path(watch.baseline) as temporary:
        frame.to_parquet(temporary, index=False)


@task(cache_policy=NO_CACHE)
def measure_drift(layout: Layout, release: Release, state: StateLayout) -> DriftReport:
    """Run the drift tests and write the page about them."""
    policy, now = read_config(layout.config).monitoring, datetime.now(UTC)
    since = now - timedelta(hours=policy.window_hours)
    package = StoreLayout(layout.bento_home).model(release.version)
    entities = EntityIndex.load(package.entities, fingerprint=release.model_fingerprint)
    known = drift_sample(pd.read_parquet(layout.watch(release.version).baseline), entities)
    shown = drift_sample(Samples(state.samples).read(release.version, since=since), entities).distinct()
    tests, untested = compare(known, shown, policy=policy)
    report = DriftReport(
        release=release.version,
        data_hash=release.data_hash,
        at=now,
        since=since,
        pictures=len(shown.vectors),
        texts=len(shown.scripts),
        tests=tests,
        untested=untested,
        policy=policy,
    )
    figures = distributions(known.pictures[list(NUMBERS)], shown.pictures[list(NUMBERS)])
    write_page(layout.watch(release.version).page, "drift.html.j2", drift=report, plot=as_markup(figures))
    return report


@task(cache_policy=NO_CACHE)
def publish(layout: Layout, report: DriftReport) -> None:
    """Show the report; each drift of a release makes a retraining due once."""
    page = layout.watch(report.release).page
    create_link_artifact(key="drift-page", link=page.as_uri(), link_text="Drift: recent requests and baseline")
    rows = [test.model_dump(exclude={"test"}) for test in report.tests]
    create_table_artifact(key="drift", table=rows, description="; ".join(report.untested) or "All tests were run.")
    report.write(layout.watch(report.release).drift)
    if report.drifted:
        summary = f"{', '.join(report.drifted)} drifted in the requests to {report.release}; see {page}"
        get_run_logger().warning(summary)
        announce(layout, "drift", key=digest(report.release, *report.drifted), summary=summary)
