"""Evaluation reports for decisions about a challenger."""

from typing import Any

from entityclip.schemas import EvalReport, Metric, PromotionDecision, PromotionPolicy


def report(fingerprint: str, values: dict[str, float], *, queries: int = 100, **fields: Any) -> EvalReport:
    name, direction = fields.pop("name", "R@1"), fields.pop("direction", "image_to_text")
    figures = tuple(
        Metric.model_validate(
            {"index": "mixed", "direction": direction, "slice": where, "name": name}
            | {"value": value, "low": value, "high": value, "queries": queries}
        )
        for where, value in values.items()
    )
    about = {"evaluation_hash": "set", "split": "test", "pictures": 1, "entities": 1000, "seconds": 0}
    return EvalReport.model_validate(about | {"model_fingerprint": fingerprint, "metrics": figures} | fields)


def first_decision(fingerprint: str) -> PromotionDecision:
    """The first champion of a workspace."""
    return PromotionDecision(
        promoted=True,
        reasons=("the first",),
        challenger=fingerprint,
        champion=None,
        data_hash="data",
        suite_hash="suite",
        evaluation_hash="evaluation",
        policy=PromotionPolicy(),
    )
