"""A rule as a Python class: every bracket that a text opens is closed again. Texts that were cut off break it."""

from __future__ import annotations

import re
from typing import Any

import pandas as pd
from great_expectations.execution_engine import PandasExecutionEngine
from great_expectations.expectations.expectation import ColumnMapExpectation
from great_expectations.expectations.metrics import ColumnMapMetricProvider, column_condition_partial

OPENED_BY = {")": "(", "]": "[", "}": "{", "）": "（", "」": "「", "』": "『", "】": "【"}
BRACKETS = re.compile("|".join(map(re.escape, [*OPENED_BY, *OPENED_BY.values()])))


def brackets_close(text: str) -> bool:
    """Whether every bracket has its partner, in the right order."""
    opened: list[str] = []
    for bracket in BRACKETS.findall(text):
        if bracket not in OPENED_BY:
            opened.append(bracket)
        elif not opened or opened.pop() != OPENED_BY[bracket]:
            return False
    return not opened


class BracketsClose(ColumnMapMetricProvider):
    """The condition that Great Expectations evaluates on each value that is not empty."""

    condition_metric_name = "column_values.brackets_close"

    @column_condition_partial(engine=PandasExecutionEngine)
    def _pandas(cls, column: pd.Series, **_: Any) -> pd.Series:
        # Great Expectations evaluates it ten times; a vectorized check skips the many texts without brackets.
        texts = column.astype("str")
        some = texts.str.contains(BRACKETS.pattern)
        closed = pd.Series(True, index=column.index)
        closed[some] = texts[some].map(brackets_close).astype(bool)  # an empty column has no type
        return closed


class ExpectColumnValuesToCloseBrackets(ColumnMapExpectation):
    """The rule. Its name in a suite is the class's in snake case: expect_column_values_to_close_brackets."""

    map_metric = "column_values.brackets_close"
