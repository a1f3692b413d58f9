"""The quarantine file: opened in a spreadsheet nothing in it runs, and reading provides back what broke the rule."""

from __future__ import annotations

import csv
from pathlib import Path

import pandas as pd
import pytest

from entityclip.quality.quarantine_file import broken_texts
from expectations import quarantine


@pytest.mark.parametrize(
    "text", ['=HYPERLINK("http://evil.example")', "-1+1", "＝１＋１", "\r=1", "'=1", "赤い\r\nポンプ"]
)
def test_quarantined_text_runs_in_no_spreadsheet_and_is_read_back(tmp_path: Path, text: str) -> None:
    cells = {"table": "explanations", "id": "x", "entity": text, "rule": "markup", "value": text, "text": text}
    quarantine.write_quarantine_file(tmp_path / "quarantine.csv", pd.DataFrame([cells], columns=quarantine.COLUMNS))
    with (tmp_path / "quarantine.csv").open(encoding="utf-8", newline="") as stream:
        (row,) = csv.DictReader(stream, strict=True)
    assert not row["text"].startswith(("=", "+", "-", "@", "\t", "\r", "＝"))
    assert list(broken_texts(tmp_path / "quarantine.csv")["value"]) == [text]
