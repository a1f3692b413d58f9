"""Second half of the main job: compare, release, package, smoke-test, then make the release the champion.

A model has to pass two checks: the promotion, which compares it with the champion, and the serving check, which is its
smoke test and its budgets. Both are kept in Git. To roll back by hand:
``entityclip rollback --workspace DIR --to v1.3.0``.
"""

from __future__ import annotations

from dataclasses import replace

import pandas as pd
from prefect import flow, get_run_logger, task
from prefect.cache_policies import NO_CACHE

from bentos.build import package
from entityclip.errors import EntityClipError, PackagingError
from entityclip.evaluation import promotion
from entityclip.model.checkpoint_card import CheckpointCard
from entityclip.paths import Layout, RunLayout
from entityclip.reports.run_report import StageFact
from entityclip.schemas import (
    BentoRecord,
    EvalReport,
    PromotionDecision,
    PromotionPolicy,
    QualityReport,
    Record,
    Release,
    SealedLook,
    ServingCheck,
)
from entityclip.settings import read_config
from flows import approve as approval
from flows.steps import deploy_release
from flows.steps.artifacts import show_decision, show_serving_check
from flows.steps.model import TrainedModel
from flows.steps.sealed import open_sealed, set_looks
from flows.steps.stage_timer import StageTimer
from flows.workspace import versions
from flows.workspace.registry import assign_champion, champion, fetch_release, last_champions, was_champion

STAGES = ("promote", "package", "smoke")
CERTIFIED = "an earlier run built and certified it, and was stopped before it made it the champion"


class ReleaseOutcome(Record):
    """What became of the challenger; ``release`` and ``bento`` are those of the champion after the run."""

    decision: PromotionDecision
    serving_check: ServingCheck | None
    release: Release | None
    bento: BentoRecord | None
    stages: tuple[StageFact, ...]
    sealed: SealedLook | None = None
    """Of a challenger that was promoted, where the data have sealed pictures."""
    made: str = ""
    """Version of the challenger; empty where it was refused."""


@task(cache_policy=NO_CACHE)
def decide(
    layout: Layout, trained: TrainedModel, data_hash: str, suite_hash: str, *, floors: bool = True
) -> PromotionDecision:
    """Compare the challenger with the champion on the same evaluation set, by the current policy."""
    policy = policy_of(layout, floors=floors)
    decision = promotion.decide(
        trained.evaluation,
        measured_champions(layout, trained, count=policy.compared_champions),
        policy=policy,
        data_hash=data_hash,
        suite_hash=suite_hash,
        queries=pd.read_parquet(layout.run(trained.run).queries),
        looks=challengers_compared(layout, trained.card.fingerprint),
    ).model_copy(update={"looks": set_looks(layout, trained.card.fingerprint)})
    decision.write(layout.run(trained.run).decision)
    show_decision(decision)
    get_run_logger().info("%s: %s", "promoted" if decision.promoted else "refused", "; ".join(decision.reasons))
    return decision


def policy_of(layout: Layout, *, floors: bool) -> PromotionPolicy:
    """The workspace's promotion policy; without ``floors``, which a preset may switch off, it requires neither a result
    above chance nor a significant gain.
    """
    policy = read_config(layout.config).promotion
    return policy if floors else policy.model_copy(update={"require_above_chance": False, "require_significant": False})


def challengers_compared(layout: Layout, challenger: str) -> int:
    """Challengers that were compared with the champion in service, this one included."""
    current = champion(layout)
    decisions = (PromotionDecision.read(path) for path in layout.decisions)
    known = {d.challenger for d in decisions if d is not None and current is not None and d.champion == current.version}
    return len(known | {challenger})


def measured_champions(layout: Layout, trained: TrainedModel, *, count: int) -> list[promotion.Champion]:
    """The last ``count`` champions, the current one first, measured on the challenger's evaluation set: the same data,
    the same code.

    A former champion whose data were erased, or whose weights can no longer be read, is left out with a warning; the
    current one must be there.
    """
    found: list[promotion.Champion] = []
    for version in last_champions(layout, count=count):
        try:
            report, queries = champion_figures(layout, version, trained.evaluation)
        except EntityClipError as error:
            if not found:
                raise
            get_run_logger().warning("slices are not compared with those of %s: %s", version, error)
        else:
            found.append(promotion.Champion(version, report, queries))
    return found


def champion_figures(layout: Layout, version: str, challenger: EvalReport) -> tuple[EvalReport, pd.DataFrame]:
    """One champion measured on the challenger's evaluation set."""
    from entityclip.evaluation.evaluate import evaluate
    from entityclip.model import checkpoint  # loads torch: imported only when needed

    model = replace(checkpoint.load(fetch_release(layout, version).model), vectors=layout.picture_vectors)
    return evaluate(model, layout.data, split=challenger.split)


@task(cache_policy=NO_CACHE, retries=1, retry_delay_seconds=5)
def release_model(
    layout: Layout, trained: TrainedModel, decision: PromotionDecision, quality: QualityReport
) -> Release:
    """One commit with data, rules, model and reports, pushed and tagged as a version; not yet the champion."""
    reports: dict[str, Record] = {
        "card": trained.card,
        "evaluation": trained.evaluation,
        "quality": quality.portable(layout.root),
    }
    return versions.release(layout, checkpoint=layout.run(trained.run).checkpoint, reports=reports, decision=decision)


@task(cache_policy=NO_CACHE)
def package_release(layout: Layout, release: Release) -> BentoRecord:
    """Build a Bento from the release's own files; it is not smoke-tested yet."""
    return deploy_release.packaged(layout, release)


@task(cache_policy=NO_CACHE)
def smoke_test(layout: Layout, release: Release, bento: BentoRecord) -> tuple[BentoRecord, ServingCheck]:
    """Serve the Bento in its own process; compare its scores with the evaluator's, and its figures with the budgets."""
    return deploy_release.run_smoke_test(layout, release, bento)


@task(cache_policy=NO_CACHE)
def make_champion(layout: Layout, release: Release, decision: PromotionDecision) -> Release:
    """Put the certified release into service, then tag it as the champion; after a kill in between, run again."""
    deploy_release.go_live(layout, release)
    return assign_champion(layout, release.version, message=decision.reasons[0])


@flow(name="release", flow_run_name="release-{trained.run}")
def release(
    layout: Layout, trained: TrainedModel, data_hash: str, quality: QualityReport, *, floors: bool = True
) -> ReleaseOutcome:
    """Promote the challenger or keep the champion. It is packaged and smoke-tested first."""
    clock = StageTimer()
    with clock.stage("promote"):
        decision, why = decided_before(layout, layout.run(trained.run), trained.card, floors=floors)
        if decision is not None:
            clock.reason = why
        else:
            decision = decide(layout, trained, data_hash, quality.suite_hash, floors=floors)
        made = candidate = sealed = None
        if decision.promoted:
            sealed = open_sealed(layout, trained, decision)
            made = release_model(layout, trained, decision, quality)
            candidate = made if awaits_promotion(layout, made) else None
        else:
            versions.record_decision(layout, decision)
    current, bento, serving_check = champion(layout), None, None
    if candidate is not None:
        bento, serving_check = try_out(layout, candidate, clock)
        if serving_check.certified and approved(layout, candidate, decision):
            current = make_champion(layout, candidate, decision)
    if current is None:
        bento = None
    elif current != candidate:
        bento = keep_ready(layout, current, clock)
    return ReleaseOutcome(
        decision=decision,
        serving_check=serving_check,
        release=current,
        bento=bento,
        stages=clock.facts,
        sealed=sealed,
        made=made.version if made else "",
    )


def try_out(layout: Layout, candidate: Release, clock: StageTimer) -> tuple[BentoRecord | None, ServingCheck]:
    """Package and smoke-test a release that is not the champion yet. If that fails, the champion stays."""
    bento, before = None, deploy_release.certified_before(layout, candidate)
    try:
        with clock.stage("package"):
            if before is not None:
                clock.reason = CERTIFIED
            bento = before[0] if before else package_release(layout, candidate)
        with clock.stage("smoke"):
            if before is not None:
                clock.reason = CERTIFIED
            bento, serving_check = before or smoke_test(layout, candidate, bento)
    except PackagingError as error:
        serving_check = deploy_release.unservable(layout, candidate, error)
    deploy_release.record_serving_check(layout, serving_check)
    show_serving_check(serving_check)
    get_run_logger().info(
        "%s for service: %s", "certified" if serving_check.certified else "refused", serving_check.reasons
    )
    return bento, serving_check


def approved(layout: Layout, candidate: Release, decision: PromotionDecision) -> bool:
    """True if no approval is needed. Otherwise request it: the answer makes the release the champion."""
    hours = decision.policy.approval_hours
    if hours is None:
        return True
    request = approval.request_approval(layout, candidate, hours=hours)
    approval.notify(layout, request)
    get_run_logger().info("%s waits for approval until %s", request.version, request.until)
    return False


def keep_ready(layout: Layout, current: Release, clock: StageTimer) -> BentoRecord:
    """The champion's Bento, intact and smoke-tested; built again if it is damaged or the service's code has changed."""
    with clock.stage("package"):
        ready, why = packaged_before(layout, current)
        if ready is not None:
            clock.reason = why
        bento = ready or package_release(layout, current)
    with clock.stage("smoke"):
        tested, why = smoke_tested_before(layout, current) if ready else (None, "")
        if tested is not None:
            clock.reason = why
        return tested or smoke_test(layout, current, bento)[0]


# ---------------------------------------------------------------- reuse
def decided_before(
    layout: Layout, run: RunLayout, card: CheckpointCard, *, floors: bool
) -> tuple[PromotionDecision | None, str]:
    """The decision of an earlier run about this model and why it can be reused; otherwise None and why not."""
    decision, current = PromotionDecision.read(run.decision), champion(layout)
    if decision is None or decision.challenger != card.fingerprint:
        return None, "this model has not been compared with the champion yet"
    if not decision.promoted and decision.policy != policy_of(layout, floors=floors):
        return None, f"{layout.config.name} has another promotion policy than the one that refused it"
    version = None if current is None else current.version
    released = current is not None and current.model_fingerprint == decision.challenger
    if decision.champion != version and not (decision.promoted and released):
        return None, f"it was compared with {decision.champion}, and the champion is {version} now"
    return decision, "an earlier run compared it with the same champion; the decision is kept in Git"


def awaits_promotion(layout: Layout, made: Release) -> bool:
    """Whether a release still has to become the champion: it never was, and no approval was requested for it."""
    return not was_champion(layout, made.version) and approval.approval_of(layout, made) is None


def packaged_before(layout: Layout, release: Release) -> tuple[BentoRecord | None, str]:
    """The Bento of an earlier run and why it can be reused; otherwise None and why not."""
    ready = package.ready(layout.bento_home, release)
    if ready is None:
        return None, f"the Bento of {release.version} is missing, damaged or built from other sources"
    return ready, f"{ready.tag} was built from this release; all its files have the same hashes"


def smoke_tested_before(layout: Layout, release: Release) -> tuple[BentoRecord | None, str]:
    """The Bento with the result of its smoke test, and why it can be reused; otherwise None and what is missing."""
    tested = BentoRecord.read(layout.receipt(f"smoke-{release.version}"))
    if tested is None:
        return None, f"{release.version} has no receipt of a smoke test"
    return tested, f"the same Bento answered within {tested.largest_difference:.0e} of the evaluator"
