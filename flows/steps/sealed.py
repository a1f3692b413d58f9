"""The sealed split: whether the data have one, who looked at what, and the one look for each promoted release."""

from __future__ import annotations

from prefect import get_run_logger, task
from prefect.cache_policies import NO_CACHE

from entityclip.data.pairs import require_complete
from entityclip.evaluation.sealed import sealed_look
from entityclip.paths import Layout
from entityclip.schemas import PromotionDecision, SealedLook, SetLooks
from entityclip.settings import read_config
from expectations.suites import read_suite, suite_file
from flows.steps.model import TrainedModel


def sealed_share(layout: Layout, *, pictures: int) -> tuple[float, str]:
    """Share of the pictures that is sealed in this workspace, and why it is 0.

    Data that have sealed pictures keep them while the source shrinks: trained on, they could never be sealed again.

    Args:
        layout: The workspace.
        pictures: Those of the source, or of the data.
    """
    policy = read_config(layout.config).sealed
    kept = layout.data.marker.is_file() and require_complete(layout.data).get("sealed", 0) > 0
    if not policy.share:
        return 0.0, "sealed.share is 0"
    if pictures < policy.min_pictures and not kept:
        return 0.0, f"{pictures:,} pictures are fewer than sealed.min_pictures, {policy.min_pictures:,}"
    return (0.0, why) if (why := _refused_by_rules(layout)) else (policy.share, "")


def _refused_by_rules(layout: Layout) -> str:
    """Why the gate of a workspace of an earlier version would refuse sealed rows, with the remedy; empty if it does
    not.
    """
    file = suite_file("pairs", layout.expectations)
    if not file.is_file():  # a new workspace: it gets the committed rules
        return ""
    for rule in read_suite("pairs", layout.expectations)["expectations"]:
        accepted = rule.get("kwargs", {}).get("value_set", ("sealed",))
        if rule["meta"]["rule"] == "unknown_split" and "sealed" not in accepted:
            shown = file.relative_to(layout.root)
            return f"the rule unknown_split in {shown} does not accept 'sealed'; add it to the rule's value_set"
    return ""


def set_looks(layout: Layout, challenger: str) -> SetLooks:
    """How often test and sealed pictures of the workspace were used, the decision about ``challenger`` included."""
    decisions = (PromotionDecision.read(path) for path in layout.decisions)
    decided = {decision.challenger for decision in decisions if decision is not None} | {challenger}
    counts = require_complete(layout.data)
    if counts.get("sealed", 0):
        opened = [path for path in layout.sealed_looks if path != layout.sealed_look(challenger)]
        return SetLooks(deciding=len(decided), sealed=len(opened))
    _, why = sealed_share(layout, pictures=counts.get("pairs", 0))
    return SetLooks(deciding=len(decided), no_sealed=why or "the rows of the source name their splits")


@task(cache_policy=NO_CACHE)
def open_sealed(layout: Layout, trained: TrainedModel, decision: PromotionDecision) -> SealedLook | None:
    """Measure a promoted model on the sealed split, in the workspace's current data; None where they have none.

    The result is kept in ``reports/``, and becomes part of the release. It decides nothing. A model that was measured
    before is not measured again.
    """
    path = layout.sealed_look(trained.card.fingerprint)
    known = SealedLook.read(path)
    if known is not None or not require_complete(layout.data).get("sealed", 0):
        return known
    from entityclip.evaluation.evaluate import evaluate
    from entityclip.model import checkpoint  # loads torch: imported only when needed

    model = checkpoint.load(layout.run(trained.run).checkpoint)
    report, _ = evaluate(model, layout.data, split="sealed")
    found = sealed_look(trained.evaluation, report, decision, look=len(layout.sealed_looks) + 1)
    found.write(path)
    get_run_logger().info("%s", found.summary)
    return found
