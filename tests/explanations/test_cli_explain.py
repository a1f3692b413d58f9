"""``entityclip explain`` as people type it, with a server that answers."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hostile import GOOD, HostileServer
from typer.testing import CliRunner, Result

from entityclip.cli import app
from entityclip.data import pairs
from entityclip.explanations import Ledger
from entityclip.paths import DataLayout, Layout

pytestmark = pytest.mark.slow

ENTITIES = 12


@pytest.fixture
def server() -> Iterator[HostileServer]:
    with HostileServer() as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
def data(tmp_path: Path) -> DataLayout:
    """Twelve things; the caption of the last one makes the server ramble."""
    data = DataLayout(tmp_path / "data")
    pairs.start(data)
    names = [f"KX-{i}" for i in range(ENTITIES)]
    captions = ["good"] * (ENTITIES - 1) + ["rambling"]
    rows = ({"entity_id": pairs.entity_id(n), "caption": c} for n, c in zip(names, captions, strict=True))
    pairs.write_rows(data.pairs, pairs.PAIRS, rows, name="train")
    entities = ({"entity_id": pairs.entity_id(n), "entity": n, "language": "en"} for n in names)
    pairs.write_rows(data.entities, pairs.ENTITIES, entities, name="entities")
    pairs.write_rows(data.source_provided, pairs.SOURCE_PROVIDED, iter(()), name="source_provided")
    pairs.finish(data)
    return data


def explain(data: DataLayout, *arguments: object) -> Result:
    given = ["explain", data.root, "--workspace", data.root.parent, *arguments]
    return CliRunner().invoke(app, [str(argument) for argument in given], prog_name="entityclip")


def answer(result: Result) -> dict[str, Any]:
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout.splitlines()[-1])


def test_a_dry_run_prints_the_cost_and_sends_no_request(data: DataLayout, server: HostileServer) -> None:
    config = data.root.parent / "writer.yaml"
    config.write_text(f"{{writer: openai, model: m, base_url: '{server.url}', price_in: 1.0, price_out: 2.0}}")
    estimated = answer(explain(data, "--config", config, "--dry-run", "--json"))
    assert (estimated["requests"], estimated["known"], estimated["cost"]["tokens_out"]) == (ENTITIES, 0, ENTITIES * 400)
    assert 200 * ENTITIES < estimated["cost"]["tokens_in"] < 1_000 * ENTITIES
    assert estimated["cost"]["money"] == pytest.approx(estimated["cost"]["tokens_in"] / 1e6 + ENTITIES * 400 * 2 / 1e6)
    assert not server.counts
    assert not data.explanations.exists()


def test_rejected_texts_are_requested_again_only_with_the_option(data: DataLayout, server: HostileServer) -> None:
    options = ("--writer", "openai", "--model", "m", "--base-url", server.url)
    first = answer(explain(data, *options, "--json"))
    assert (first["explanations"], sum(first["rejected"].values())) == (ENTITIES - 1, 1)
    assert set(pairs.read_frame(data.explanations)["text"]) == {GOOD["text"]}
    once = sum(server.counts.values())
    assert once == ENTITIES + 1
    assert "1 replies rejected" in explain(data, *options).output
    assert sum(server.counts.values()) == once
    assert answer(explain(data, *options, "--again", "--json"))["explanations"] == ENTITIES - 1
    assert sum(server.counts.values()) == once + 2
    with Ledger(Layout(data.root.parent).ledger) as book:
        assert book.spent().tokens_in == 100 * (once + 2)


def test_a_spent_budget_ends_the_run_and_the_next_one_goes_on(data: DataLayout, server: HostileServer) -> None:
    options = ("--writer", "openai", "--model", "m", "--base-url", server.url)
    result = explain(data, *options, "--budget-tokens", 2_500)
    assert result.exit_code == 1
    assert "BudgetSpent" in result.stderr
    kept = sum(server.counts.values())
    assert f"{kept} of {ENTITIES} answers are in the ledger" in result.stderr
    assert 0 < kept < ENTITIES
    assert not data.explanations.exists()
    assert explain(data, *options).exit_code == 0
    assert sum(server.counts.values()) == ENTITIES + 1


def test_the_workspaces_settings_name_the_writer(data: DataLayout, server: HostileServer) -> None:
    section = {"writer": "openai", "model": "m", "base_url": server.url, "rules": {"forbidden": ["kettle"]}}
    Layout(data.root.parent).config.write_text(json.dumps({"explain": section}))
    refused = explain(data)
    assert refused.exit_code == 1
    assert f"all {ENTITIES} replies were rejected" in refused.stderr
    assert "text: forbidden: kettle" in refused.stderr
    assert not data.explanations.exists()
    assert answer(explain(data, "--writer", "source", "--json"))["explanations"] == 0
    assert set(server.counts.values()) == {2}


def test_examples_for_a_base_model_are_made_from_texts_of_the_source(data: DataLayout) -> None:
    path = data.root.parent / "examples.yaml"
    nothing = explain(data, "--write-examples", path)
    assert nothing.exit_code == 1
    assert "no entity has a text of the source" in nothing.stderr
    rows = ({"entity_id": pairs.entity_id("KX-3"), "text": "A red kettle.", "language": "en"} for _ in range(1))
    pairs.write_rows(data.source_provided, pairs.SOURCE_PROVIDED, rows, name="source_provided")
    assert answer(explain(data, "--write-examples", path, "--json"))["examples"] == {"en": 1}
    assert "text: A red kettle." in path.read_text()


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("--writer", "openai", "--model", "m"), "base_url: Field required"),
        (("--writer", "openai", "--model", "m", "--base-url", "https://llm.example.com/v1"), "llm.example.com"),
        (("--writer", "source", "--budget-tokens", 5), "budget_tokens: Extra inputs are not permitted"),
        (("--writer", "transformers", "--model", "/no/such"), "/no/such"),
        (("--config", "missing.yaml"), "missing.yaml"),
    ],
)
def test_a_wrong_setting_is_one_line_that_names_it(data: DataLayout, arguments: tuple[object, ...], why: str) -> None:
    result = explain(data, *arguments)
    assert result.exit_code == 1
    (line,) = result.stderr.splitlines()
    assert line.startswith("ConfigError: ")
    assert why in line


def test_without_a_folder_examples_are_made_from_the_staging_of_the_workspace_and_nothing_is_written(
    data: DataLayout, tmp_path: Path
) -> None:
    rows = ({"entity_id": pairs.entity_id("KX-3"), "text": "A red kettle.", "language": "en"} for _ in range(1))
    pairs.write_rows(data.source_provided, pairs.SOURCE_PROVIDED, rows, name="source_provided")
    layout = Layout(tmp_path / "shop")
    layout.staging.root.parent.mkdir(parents=True)
    data.root.rename(layout.staging.root)
    words = ["explain", "--workspace", str(layout.root)]
    done = CliRunner().invoke(app, [*words, "--write-examples", str(tmp_path / "examples.yaml")])
    assert done.exit_code == 0, done.stderr
    assert "A red kettle." in (tmp_path / "examples.yaml").read_text()
    refused = CliRunner().invoke(app, words)
    assert refused.exit_code == 2
    assert "name the folder" in refused.stderr
    assert not layout.staging.explanations.exists()
