"""A rule of your own: an entity that is named by a JAN code (EAN-13) has the right check digit.

    python examples/custom_rule.py shop-search

This adds the rule to a workspace: the file itself to ``expectations/gx/plugins/``, where the gate finds the class, and
one entry to the suite ``expectations/gx/expectations/pairs.json``. Rows that break the rule go to quarantine.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pandas as pd
from great_expectations.execution_engine import PandasExecutionEngine
from great_expectations.expectations.expectation import ColumnMapExpectation
from great_expectations.expectations.metrics import ColumnMapMetricProvider, column_condition_partial

RULE = {
    "type": "expect_column_values_to_be_valid_jan",
    "severity": "critical",
    "kwargs": {"column": "entity"},
    "meta": {"rule": "jan_check_digit"},
    "notes": "The JAN code was probably mistyped.",
}


def is_valid_jan(code: str) -> bool:
    """Whether the last of 13 digits is the check digit of the others; other names than 13 digits are not checked."""
    if not (len(code) == 13 and code.isascii() and code.isdigit()):
        return True
    return sum(int(digit) * (3 if place % 2 else 1) for place, digit in enumerate(code)) % 10 == 0


class ValidJan(ColumnMapMetricProvider):
    """The condition that Great Expectations evaluates on each value that is not empty."""

    condition_metric_name = "column_values.valid_jan"

    @column_condition_partial(engine=PandasExecutionEngine)
    def _pandas(cls, column: pd.Series, **_: Any) -> pd.Series:
        return column.astype("str").map(is_valid_jan).astype(bool)


class ExpectColumnValuesToBeValidJan(ColumnMapExpectation):
    """The rule. Its name in a suite is the class's in snake case: expect_column_values_to_be_valid_jan."""

    map_metric = "column_values.valid_jan"


def add_rule(workspace: Path) -> None:
    """Copy this file into the workspace and name the rule in its suite, unless both are there."""
    rules = workspace / "expectations" / "gx"
    shutil.copy(__file__, rules / "plugins")
    file = rules / "expectations" / "pairs.json"
    suite = json.loads(file.read_text(encoding="utf-8"))
    if RULE not in suite["expectations"]:
        suite["expectations"].append(RULE)
        file.write_text(json.dumps(suite, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    add_rule(Path(sys.argv[1]))
    print(f"{sys.argv[1]}: rule {RULE['meta']['rule']} is in the suite of pairs")
