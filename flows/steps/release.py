"""The release half of the main job: decide, release, package, prove, and only then make it the champion.

A model needs two blessings: one for quality, by comparison with the champion, and one for service, by its smoke test
and budgets. Both are kept in Git. Going back by hand:
``python -m flows.steps.release rollback --workspace DIR --to v1.3.0``.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import pandas as pd
import typer
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
    Blessing,
    EvalReport,
    PromotionDecision,
    PromotionPolicy,
    QualityReport,
    Record,
    Release,
)
from entityclip.settings import read_config
from flows import approve as approval
from flows.steps import deploy_release
from flows.steps.artifacts import show_blessing, show_decision
from flows.steps.model import Learned
from flows.steps.rollback import roll_back
from flows.steps.stage_timer import Clock
from flows.workspace import versions
from flows.workspace.create import open_workspace
from flows.workspace.locks import alone
from flows.workspace.registry import assign_champion, champion, fetch_release, reigned

STAGES = ("promote", "package", "smoke")
BLESSED = "an earlier run built, proved and blessed it, and was stopped before it could make it the champion"


class Released(Record):
    """How the challenger fared; ``release`` and ``bento`` are the champion's, whoever that now is."""

    decision: PromotionDecision
    blessing: Blessing | None
    release: Release | None
    bento: BentoRecord | None
    stages: tuple[StageFact, ...]


@task(cache_policy=NO_CACHE)
def decide(
    layout: Layout, learned: Learned, data_hash: str, suite_hash: str, *, floors: bool = True
) -> PromotionDecision:
    """The challenger against the champion on the same evaluation set, by the policy that holds."""
    current = champion(layout)
    theirs = None if current is None else champion_figures(layout, current, learned.evaluation)
    ours = pd.read_parquet(layout.run(learned.run).queries)
    decision = promotion.decide(
        learned.evaluation,
        None if theirs is None else theirs[0],
        policy=policy_of(layout, floors=floors),
        champion_version=None if current is None else current.version,
        data_hash=data_hash,
        suite_hash=suite_hash,
        queries=None if theirs is None else (ours, theirs[1]),
    )
    decision.write(layout.run(learned.run).decision)
    show_decision(decision)
    get_run_logger().info("%s: %s", "promoted" if decision.promoted else "refused", "; ".join(decision.reasons))
    return decision


def policy_of(layout: Layout, *, floors: bool) -> PromotionPolicy:
    """The workspace's policy; without ``floors``, which a preset may switch off, chance need not be beaten."""
    policy = read_config(layout.config).promotion
    return policy if floors else policy.model_copy(update={"require_above_chance": False})


def champion_figures(layout: Layout, current: Release, challenger: EvalReport) -> tuple[EvalReport, pd.DataFrame]:
    """The champion measured on the challenger's evaluation set: the same data, the same code."""
    from entityclip.evaluation.evaluate import evaluate
    from entityclip.model import checkpoint  # loads torch: only who compares anew waits for it

    model = checkpoint.load(fetch_release(layout, current.version).model)
    return evaluate(model, layout.data, split=challenger.split)


@task(cache_policy=NO_CACHE, retries=1, retry_delay_seconds=5)
def release_model(layout: Layout, learned: Learned, decision: PromotionDecision, quality: QualityReport) -> Release:
    """One commit with data, rules, model and reports, pushed and tagged as a version; not yet the champion."""
    reports: dict[str, Record] = {
        "card": learned.card,
        "evaluation": learned.evaluation,
        "quality": quality.portable(layout.root),
    }
    return versions.release(layout, checkpoint=layout.run(learned.run).checkpoint, reports=reports, decision=decision)


@task(cache_policy=NO_CACHE)
def package_release(layout: Layout, release: Release) -> BentoRecord:
    """A Bento from the release's own files; it has yet to be proved."""
    return deploy_release.packaged(layout, release)


@task(cache_policy=NO_CACHE)
def smoke_test(layout: Layout, release: Release, bento: BentoRecord) -> tuple[BentoRecord, Blessing]:
    """Serve the Bento in its own process, compare its scores with the evaluator's, hold it against the budgets."""
    return deploy_release.prove(layout, release, bento)


@task(cache_policy=NO_CACHE)
def make_champion(layout: Layout, release: Release, decision: PromotionDecision) -> Release:
    """Let the blessed release answer, then tag it as the champion; a kill between the two is completed by a rerun."""
    deploy_release.go_live(layout, release)
    return assign_champion(layout, release.version, message=decision.reasons[0])


@flow(name="release", flow_run_name="release-{learned.run}")
def release(
    layout: Layout, learned: Learned, data_hash: str, quality: QualityReport, *, floors: bool = True
) -> Released:
    """Promote the challenger or keep the champion. Whoever is to answer then is packaged and proved first."""
    clock = Clock()
    with clock.stage("promote"):
        decision, why = judged_before(layout, layout.run(learned.run), learned.card, floors=floors)
        if decision is not None:
            clock.reason = why
        else:
            decision = decide(layout, learned, data_hash, quality.suite_hash, floors=floors)
        candidate = None
        if decision.promoted:
            made = release_model(layout, learned, decision, quality)
            candidate = made if to_be_proved(layout, made) else None
        else:
            versions.record_decision(layout, decision)
    current, bento, blessing = champion(layout), None, None
    if candidate is not None:
        bento, blessing = try_out(layout, candidate, clock)
        if blessing.blessed and approved(layout, candidate, decision):
            current = make_champion(layout, candidate, decision)
    if current is None:
        bento = None
    elif current != candidate:
        bento = keep_ready(layout, current, clock)
    return Released(decision=decision, blessing=blessing, release=current, bento=bento, stages=clock.facts)


def try_out(layout: Layout, candidate: Release, clock: Clock) -> tuple[BentoRecord | None, Blessing]:
    """Package and prove a release that is not the champion yet. Where that fails, the champion stays."""
    bento, before = None, deploy_release.blessed_before(layout, candidate)
    try:
        with clock.stage("package"):
            if before is not None:
                clock.reason = BLESSED
            bento = before[0] if before else package_release(layout, candidate)
        with clock.stage("smoke"):
            if before is not None:
                clock.reason = BLESSED
            bento, blessing = before or smoke_test(layout, candidate, bento)
    except PackagingError as error:
        blessing = deploy_release.unservable(layout, candidate, error)
    deploy_release.record_blessing(layout, blessing)
    show_blessing(blessing)
    get_run_logger().info("%s for service: %s", "blessed" if blessing.blessed else "refused", blessing.reasons)
    return bento, blessing


def approved(layout: Layout, candidate: Release, decision: PromotionDecision) -> bool:
    """Whether nobody has to be asked. Where somebody has to be, the answer makes the champion."""
    hours = decision.policy.approval_hours
    if hours is None:
        return True
    question = approval.ask(layout, candidate, hours=hours)
    approval.notify(layout, question)
    get_run_logger().info("%s waits for a person until %s", question.version, question.until)
    return False


def keep_ready(layout: Layout, current: Release, clock: Clock) -> BentoRecord:
    """The champion's Bento, whole and proved; built and proved again where it is not, or the service's code changed."""
    with clock.stage("package"):
        ready, why = packaged_before(layout, current)
        if ready is not None:
            clock.reason = why
        bento = ready or package_release(layout, current)
    with clock.stage("smoke"):
        proof, why = proved_before(layout, current) if ready else (None, "")
        if proof is not None:
            clock.reason = why
        return proof or smoke_test(layout, current, bento)[0]


# ---------------------------------------------------------------- reuse
def judged_before(
    layout: Layout, run: RunLayout, card: CheckpointCard, *, floors: bool
) -> tuple[PromotionDecision | None, str]:
    """The decision of an earlier run about this model, and why it holds; else None and why not."""
    decision, current = PromotionDecision.read(run.decision), champion(layout)
    if decision is None or decision.challenger != card.fingerprint:
        return None, "nobody has judged this model yet"
    if not decision.promoted and decision.policy != policy_of(layout, floors=floors):
        return None, f"{layout.config.name} has another promotion policy than the one it was refused by"
    version = None if current is None else current.version
    released = current is not None and current.model_fingerprint == decision.challenger
    if decision.champion != version and not (decision.promoted and released):
        return None, f"it was judged against {decision.champion}, and {version} is the champion now"
    return decision, "this model was judged before, against the champion of today; the decision is kept in Git"


def to_be_proved(layout: Layout, made: Release) -> bool:
    """Whether a release is on its way: it was never the champion, and no person was asked about it."""
    return not reigned(layout, made.version) and approval.asked(layout, made) is None


def packaged_before(layout: Layout, release: Release) -> tuple[BentoRecord | None, str]:
    """The Bento of an earlier run, whole and of today's sources, and why it is safe; else None and why not."""
    ready = package.ready(layout.bento_home, release)
    if ready is None:
        return None, f"the Bento of {release.version} is missing, damaged or of other sources"
    return ready, f"{ready.tag} was built from this release; every file of it hashes as it did"


def proved_before(layout: Layout, release: Release) -> tuple[BentoRecord | None, str]:
    """The Bento with what its smoke test saw, and what that was; else None and what is missing."""
    proof = BentoRecord.read(layout.receipt(f"smoke-{release.version}"))
    if proof is None:
        return None, f"the smoke test of {release.version} has left no receipt"
    return proof, f"the same Bento answered within {proof.largest_difference:.0e} of the evaluator"


# ---------------------------------------------------------------- by hand
app = typer.Typer(pretty_exceptions_enable=False, add_completion=False, help=__doc__, no_args_is_help=True)


@app.callback()
def _commands() -> None:
    """Releases by hand."""


@app.command()
def rollback(
    workspace: Annotated[Path, typer.Option(help="Git and DVC repository of the releases.")],
    to: Annotated[str, typer.Option(help="Version that was the champion before, like v1.3.0.")],
    reason: Annotated[str, typer.Option(help="Why; it stands in the history.")] = "by hand",
) -> None:
    """Put back data, rules, settings and model of an earlier release as one; services follow within a second."""
    try:
        layout = open_workspace(workspace)
        with alone(layout):
            release = roll_back(layout, to, reason=reason)
    except EntityClipError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        raise typer.Exit(1) from None
    print(f"{release.version} is the champion: model {release.model_fingerprint[:12]}, data {release.data_hash[:12]}")


@app.command()
def approve(
    workspace: Annotated[Path, typer.Option(help="Git and DVC repository of the releases.")],
    version: Annotated[str, typer.Option(help="The release that waits, like v1.3.0.")],
    name: Annotated[str, typer.Option(help="Who says so; it is kept with the release.")],
    comment: Annotated[str, typer.Option(help="Why.")] = "",
    decline: Annotated[bool, typer.Option("--decline", help="Say no: the champion stays.")] = False,
) -> None:
    """Answer the question about a blessed release; with yes it becomes the champion at once."""
    try:
        layout = open_workspace(workspace)
        with alone(layout):
            approval.settle(layout, version, approve=not decline, name=name, comment=comment)
    except EntityClipError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        raise typer.Exit(1) from None
    print(f"{version}: {'declined, the champion stays' if decline else 'approved, it is the champion'}")


if __name__ == "__main__":
    app()
