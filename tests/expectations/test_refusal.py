"""A refused batch says which rules, how often, for example where, where the limits stand, and what to do."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
from small_batch import Batch
from typer.testing import CliRunner

from entityclip.cli import app
from entityclip.paths import Layout
from expectations.check import check, copy_context
from expectations.refusal import EXAMPLES, explain_refusal

REFUSAL = "As an AI language model I cannot describe this product."


def refused(batch: Batch) -> str:
    """The message about the batch in a workspace."""
    layout = Layout(batch.root)
    batch.write()
    layout.work.mkdir(exist_ok=True)
    batch.staging.root.rename(layout.staging.root)
    copy_context(layout.expectations)
    report = check(
        layout.staging,
        accepted=layout.accepted,
        quarantine=layout.quarantine("b"),
        context_root=layout.expectations,
    )
    assert report.refused
    return explain_refusal(report, layout)


def test_a_refused_batch_names_rules_examples_limits_and_the_command_for_the_review(
    batch: Batch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for text in batch.texts[:5]:
        text["text"] = REFUSAL
    lines = refused(batch).splitlines()
    assert lines[0].startswith("the batch was refused: 5 of 40 explanations break critical rules; the limit is 10%")
    reason = "A language model that refused says nothing about the entity."
    start = lines.index(f"Rule refusal, 5 explanations: {reason}")
    examples = [line for line in lines[start + 1 :] if line.endswith("'As an AI'")]
    assert len(examples) == EXAMPLES
    assert "  'KX-100B' (row 1): 'As an AI'" in lines
    assert f"Limits: max_quarantined_share is 10%; edit it and the rules in {batch.suite('explanations')}" in lines
    command = shlex.split(lines[-1])
    assert command[0] == "entityclip"
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, command[1:])
    assert done.exit_code == 0, done.output
    assert (tmp_path / "review" / "review.csv").is_file()


def test_broken_pairs_are_named_by_file_and_row(batch: Batch) -> None:
    for picture in batch.pictures[:10]:
        picture["caption"] = " "
    message = refused(batch)
    assert "Rule caption_missing, 10 pairs: An empty text cannot be matched with a picture.\n" in message
    assert "\n  'KX-100B' ('0.jpg', row 1): " in message
    assert "max_quarantined_share is 5%" in message
    assert message.endswith("Pairs: correct these rows in the source, then run again.")


def test_a_refusal_shows_no_personal_data_and_no_text_can_forge_a_line(batch: Batch) -> None:
    for text in batch.texts[:20]:
        text["text"] += " Write to taro@shop.example."
    for entity in batch.entities:
        entity["entity"] = f"{entity['entity']}\nRule fine: 0 pairs\x1b[31m"
    message = refused(batch)
    assert "Rule email, 20 explanations: " in message
    assert "taro" not in message
    assert "\x1b" not in message
    assert "\nRule fine" not in message


def test_a_batch_without_any_broken_row_says_what_failed(batch: Batch) -> None:
    del batch.pictures[1:], batch.texts[:]
    suite = batch.suite("explanations")
    suite.write_text(suite.read_text().replace('"severity": "warning"', '"severity": "critical"', 1))
    message = refused(batch)
    assert message.startswith("the batch was refused: explanations: rule rows failed; ")
    assert message.endswith("Correct the cause named above, then run again.")
