"""A rule of one's own, in the suite of a workspace."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import pytest
from programs import EXAMPLES
from small_batch import Batch

RULE = EXAMPLES / "custom_rule.py"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("code", "valid"), [("4901234567894", True), ("4901234567895", False), ("KX-204B", True), ("490123456789", True)]
)
def test_the_check_digit_decides(code: str, valid: bool) -> None:
    assert runpy.run_path(str(RULE))["is_valid_jan"](code) is valid


@pytest.mark.slow
def test_a_mistyped_code_goes_to_quarantine(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = Batch(tmp_path)
    for number in range(40):
        batch.add(number)
    batch.suite("pairs")
    monkeypatch.setattr(sys, "argv", [str(RULE), str(batch.suites.parent)])
    for _ in range(2):  # a second time adds nothing
        runpy.run_path(str(RULE), run_name="__main__")
    assert "jan_check_digit" in capsys.readouterr().out
    batch.pictures[3]["entity"] = "4901234567895"
    batch.pictures[4]["entity"] = "4901234567894"
    (found,) = (rule for rule in batch.gate().rules if rule.rule == "jan_check_digit")
    assert (found.error, found.quarantined) == (None, 1)
