"""The release half of the main job: decide, release, package, smoke test."""

from __future__ import annotations

import pandas as pd
from prefect import flow, get_run_logger, task
from prefect.cache_policies import NO_CACHE

from bentos import package, smoke
from entityclip import checkpoint, promote
from entityclip.evaluate import evaluate
from entityclip.layout import Layout
from entityclip.records import BentoRecord, EvalReport, PromotionDecision, QualityReport, Record, Release
from entityclip.report import StageFact
from entityclip.workspace import read_config
from flows import versioning
from flows.artifacts import show_decision
from flows.model import Learned
from flows.registry import champion, fetch_release
from flows.stages import Clock


class Released(Record):
    """How the challenger fared; ``release`` and ``bento`` are the champion's, whoever that now is."""

    decision: PromotionDecision
    release: Release | None
    bento: BentoRecord | None
    stages: tuple[StageFact, ...]


@task(cache_policy=NO_CACHE)
def decide(layout: Layout, learned: Learned, data_hash: str, suite_hash: str) -> PromotionDecision:
    """The challenger against the champion on the same evaluation set, by the workspace's policy."""
    current = champion(layout)
    theirs = None if current is None else champion_figures(layout, current, learned.evaluation)
    ours = pd.read_parquet(layout.run(learned.run).queries)
    decision = promote.decide(
        learned.evaluation,
        None if theirs is None else theirs[0],
        policy=read_config(layout.config).promotion,
        champion_version=None if current is None else current.version,
        data_hash=data_hash,
        suite_hash=suite_hash,
        queries=None if theirs is None else (ours, theirs[1]),
    )
    decision.write(layout.run(learned.run).decision)
    show_decision(decision)
    get_run_logger().info("%s: %s", "promoted" if decision.promoted else "refused", "; ".join(decision.reasons))
    return decision


def champion_figures(layout: Layout, current: Release, challenger: EvalReport) -> tuple[EvalReport, pd.DataFrame]:
    """The champion measured on the challenger's evaluation set: the same data, the same code."""
    model = checkpoint.load(fetch_release(layout, current.version).model)
    return evaluate(model, layout.data, split=challenger.split)


@task(cache_policy=NO_CACHE, retries=1, retry_delay_seconds=5)
def release_model(layout: Layout, learned: Learned, decision: PromotionDecision, quality: QualityReport) -> Release:
    """One commit with data, rules, model and reports, pushed and tagged as the champion."""
    reports: dict[str, Record] = {"evaluation": learned.evaluation, "quality": quality.portable(layout.root)}
    return versioning.release(layout, checkpoint=layout.run(learned.run).checkpoint, reports=reports, decision=decision)


@task(cache_policy=NO_CACHE)
def package_release(layout: Layout, release: Release) -> BentoRecord:
    """A Bento from the release's own files, brought back from Git and DVC; it has yet to be proved."""
    layout.receipt(f"smoke-{release.version}").unlink(missing_ok=True)
    copy = fetch_release(layout, release.version, data=True)
    return package.build(copy.root, release=release, data=copy.data, store=layout.bento_home)


@task(cache_policy=NO_CACHE)
def smoke_test(layout: Layout, bento: BentoRecord) -> BentoRecord:
    """Serve the Bento in its own process and compare its scores with the evaluator's."""
    copy = Layout(layout.release_copy(bento.release))
    evaluation = EvalReport.read(copy.report("evaluation"))
    probes = evaluation.probes if evaluation else ()
    pictures = smoke.probe_pictures(copy.data, probes)
    worst = smoke.smoke(bento.tag, store=layout.bento_home, probes=probes, pictures=pictures)
    get_run_logger().info("%s answers like the evaluator; largest difference %.1e", bento.tag, worst)
    proved = bento.model_copy(update={"largest_difference": worst})
    proved.write(layout.receipt(f"smoke-{bento.release}"))
    return proved


@flow(name="release", flow_run_name="release-{learned.run}")
def release(layout: Layout, learned: Learned, data_hash: str, quality: QualityReport) -> Released:
    """Promote the challenger or keep the champion; package and prove whoever is champion then."""
    clock = Clock()
    with clock.stage("promote"):
        decision = _judged(layout, learned)
        if decision is not None:
            clock.reason = "this model was judged before, against the champion of today; the decision is kept in Git"
        else:
            decision = decide(layout, learned, data_hash, quality.suite_hash)
        if decision.promoted:
            release_model(layout, learned, decision, quality)
        else:
            versioning.record_decision(layout, decision)
    current = champion(layout)
    if current is None:
        return Released(decision=decision, release=None, bento=None, stages=clock.facts)
    with clock.stage("package"):
        ready = package.ready(layout.bento_home, current)
        if ready is not None:
            clock.reason = f"{ready.tag} was built from this release; every file of it hashes as it did"
        bento = ready or package_release(layout, current)
    with clock.stage("smoke"):
        proof = BentoRecord.read(layout.receipt(f"smoke-{current.version}")) if ready else None
        if proof is not None:
            clock.reason = f"the same Bento answered within {proof.largest_difference:.0e} of the evaluator"
        bento = proof or smoke_test(layout, bento)
    return Released(decision=decision, release=current, bento=bento, stages=clock.facts)


def _judged(layout: Layout, learned: Learned) -> PromotionDecision | None:
    """The decision of an earlier run about this model, unless champion or policy are others by now."""
    decision, current = PromotionDecision.read(layout.run(learned.run).decision), champion(layout)
    if decision is None or decision.challenger != learned.card.fingerprint:
        return None
    if not decision.promoted and decision.policy != read_config(layout.config).promotion:
        return None
    version = None if current is None else current.version
    released = current is not None and current.model_fingerprint == decision.challenger
    return decision if decision.champion == version or (decision.promoted and released) else None
