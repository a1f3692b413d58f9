"""Gate report: the recall that the quality gate and each of its rules gain, by training with and without them."""

from entityclip.experiments.gate_report.costs import CostLine, costs
from entityclip.experiments.gate_report.page import write_gate_page
from entityclip.experiments.gate_report.study import GateStudy, GateVariant, TrainedVariant, retrain, variants
from entityclip.experiments.gate_report.tuning import Limit, parse_limit, tune
from entityclip.experiments.gate_report.worth import recall_table, worth_table

__all__ = [
    "CostLine",
    "GateStudy",
    "GateVariant",
    "Limit",
    "TrainedVariant",
    "costs",
    "parse_limit",
    "recall_table",
    "retrain",
    "tune",
    "variants",
    "worth_table",
    "write_gate_page",
]
