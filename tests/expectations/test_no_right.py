"""The rule that holds back rows without the right to be used."""

from __future__ import annotations

import json

import pandas as pd
import pyarrow.parquet as pq
import pytest
from small_batch import Batch

from entityclip.data import pairs
from entityclip.data.rights import DEFAULT_RIGHTS, read_rights
from entityclip.errors import ConfigError
from expectations.suites import COMMITTED, suite_file


@pytest.mark.slow
def test_a_row_without_the_right_to_be_used_is_not_versioned(batch: Batch) -> None:
    batch.pictures[0]["consent"] = "withdrawn"
    batch.pictures[1]["licence"] = "All rights reserved"
    report = batch.gate()
    assert not report.refused
    lines = pd.read_csv(batch.quarantine)
    assert set(zip(lines["rule"], lines["value"], strict=True)) == {
        ("no_right", "consent: withdrawn"),
        ("no_right", "licence: All rights reserved"),
    }
    kept = set(pairs.read_frame(batch.accepted.pairs)["pair_id"])
    assert kept == {row["pair_id"] for row in batch.pictures[2:]}


def test_the_suite_decides_what_is_refused(batch: Batch) -> None:
    suite = batch.suite("pairs")
    written = json.loads(suite.read_text())
    written["meta"]["rights"]["refused_licences"] = ["mit"]
    suite.write_text(json.dumps(written))
    assert "no_right" not in {rule.rule for rule in batch.gate().rules if rule.passed}
    written["meta"]["rights"] = {"refused": "mit"}
    suite.write_text(json.dumps(written))
    with pytest.raises(ConfigError, match=r"meta\.rights"):
        batch.gate()


def test_pairs_of_a_version_without_consent_pass(batch: Batch) -> None:
    batch.write()
    for path in pairs.shards(batch.staging.pairs):
        pq.write_table(pq.read_table(path).drop_columns("consent"), path)
    assert not batch.judge().refused


def test_the_committed_suite_spells_out_the_defaults() -> None:
    assert read_rights(suite_file("pairs", COMMITTED)) == DEFAULT_RIGHTS
