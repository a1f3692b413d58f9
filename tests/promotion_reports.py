"""Evaluation reports for decisions about a challenger."""

from typing import Any

from entityclip.schemas import EvalReport, Metric


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
