"""The main job as people run it: real processes, real Prefect, DVC, Great Expectations and BentoML."""

from __future__ import annotations

import io
import re
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from main_job import MINUTES, environment, last_line, retrain
from tiny import tiny_picture

from bentos.middleware import keys
from entityclip.data import pairs
from entityclip.data.sources.catalog import MAPPING, draw_catalog
from entityclip.explanations.ledger import read_release_costs
from entityclip.model.checkpoint_card import CheckpointCard
from entityclip.paths import ChangesLayout, Layout, StateLayout
from entityclip.quality.claims.claim_model import ClaimModel
from entityclip.quality.text_quality_model import TextQualityModel
from entityclip.retrieval.index import Changes
from entityclip.schemas import BentoRecord, EntityEntry, PromotionDecision, QualityReport
from flows.retrain import settings_of
from flows.steps.plan import plan
from flows.workspace.dvc_hashes import folder_hash
from flows.workspace.registry import champion, history
from flows.workspace.source import Origin, source_for

pytestmark = pytest.mark.slow
STEPS = ["ingest", "explain", "validate", "version", "train", "calibrate", "evaluate", "promote", "package", "smoke"]


@pytest.fixture(scope="module")
def catalog(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("catalog") / "drawn"
    draw_catalog(folder, products=60)
    return folder


def added_product(state: StateLayout) -> None:
    """Keep a product with two pictures, as a service does when Ana adds it."""
    key = keys.make(state.keys, name="Ana", scopes=("entities",))
    pictures = [io.BytesIO() for _ in range(2)]
    for number, file in enumerate(pictures):
        tiny_picture("pink", number).resize((96, 96)).save(file, format="PNG")
    entry = EntityEntry(entity="ZZ-1", explanations=("A pink kettle with a round body and a black lid.",))
    changes = Changes(ChangesLayout(state.entities), fingerprint="f")
    parts = {"pictures": [file.getvalue() for file in pictures], "keep_pictures": True, "key": key.split("_")[1]}
    changes.put(pairs.entity_id("ZZ-1"), entry, vectors={}, **parts)


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory, catalog: Path) -> tuple[Layout, subprocess.CompletedProcess[str]]:
    workspace = tmp_path_factory.mktemp("journey") / "workspace"
    state = StateLayout(workspace.parent / "state")
    added_product(state)
    done = retrain(workspace, "--source-path", str(catalog), "--products", "60", state=state.root)
    return Layout(workspace), done


Journey = tuple[Layout, subprocess.CompletedProcess[str]]


def test_the_way_ends_with_a_report_a_table_and_a_served_champion(first: Journey) -> None:
    layout, done = first
    answer = last_line(done)
    assert answer["reused"] == []
    assert "<html" in Path(answer["report"]).read_text()
    assert "never photographed" in done.stdout
    assert "bentoml serve entityclip-service:v1.0.0" in done.stdout
    current = champion(layout)
    assert current is not None
    assert current.version == "v1.0.0"
    tested = BentoRecord.read(layout.receipt("smoke-v1.0.0"))
    assert tested is not None
    assert tested.largest_difference is not None
    assert tested.largest_difference < 1e-4


def test_the_release_has_a_cost_in_ledger_report_and_metrics(first: Journey) -> None:
    layout, done = first
    cost, *_ = read_release_costs(layout.ledger)
    assert cost.release == "v1.0.0"
    assert cost.points is not None
    assert cost.spent.cpu_seconds > 1
    assert cost.spent.storage_mb > 1
    assert '<section id="cost">' in Path(last_line(done)["report"]).read_text()
    assert 'entityclip_flow_release_cost{flow="retrain",of="cpu_seconds"}' in layout.metrics("retrain").read_text()


def test_a_release_is_one_commit_with_data_rules_model_and_reports(first: Journey) -> None:
    layout, _ = first
    current = champion(layout)
    assert current is not None
    shown = subprocess.run(
        ["git", "ls-tree", "-r", "--name-only", current.commit], cwd=layout.root, capture_output=True, text=True
    ).stdout.split()
    wanted = {"data.dvc", "model.dvc", "dvc.yaml", "entityclip.yaml", "reports/evaluation.json", "reports/quality.json"}
    assert wanted <= set(shown)
    assert "expectations/gx/expectations/pairs.json" in shown
    quality = QualityReport.read(layout.report("quality"))
    assert quality is not None
    assert str(layout.root) not in quality.model_dump_json()
    assert folder_hash(layout.data.root) == current.data_hash
    decision = PromotionDecision.read(layout.report("promotion"))
    assert decision is not None
    assert decision.looks is not None
    assert (decision.looks.deciding, decision.looks.sealed) == (1, None)
    assert decision.looks.no_sealed.endswith("pictures are fewer than sealed.min_pictures, 20,000")


def test_a_product_that_was_added_in_service_is_trained_on(first: Journey) -> None:
    layout, _ = first
    rows = pairs.read_frame(layout.data.pairs)
    added = rows[rows["source"] == "service"]
    assert list(zip(added["entity"], added["split"], added["person"], strict=True)) == [("ZZ-1", "train", "Ana")] * 2
    log = subprocess.run(["git", "log", "--format=%B"], cwd=layout.root, capture_output=True, text=True).stdout
    assert "From product of the service by Ana: 2 pictures" in log
    assert "Products of the service by Ana: 1 added or changed with 2 new pictures, 0 removed" in log


def test_anyone_gets_the_champions_weights_from_the_workspace(first: Journey, tmp_path: Path) -> None:
    layout, _ = first
    dvc = Path(sys.executable).with_name("dvc")
    get = [str(dvc), "artifacts", "get", ".", "entityclip", "--stage", "champion", "-o", str(tmp_path / "got")]
    done = subprocess.run(get, cwd=layout.root, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "got" / "card.json").read_text() == layout.model.card.read_text()


LOOK = """
import pathlib, sys
from flows.poll import poll
from flows.platform.ephemeral_server import begin
with begin() as answers:
    answers()
    print([poll(pathlib.Path(sys.argv[1])).new_rows for _ in range(2)])
"""


def test_the_poll_flow_and_a_bare_run_take_the_source_of_the_first_run_and_reuse_every_step(first: Journey) -> None:
    layout, done = first
    page = Path(last_line(done)["report"]).read_bytes()
    head = ["git", "rev-parse", "HEAD"]
    before = subprocess.run(head, cwd=layout.root, capture_output=True, text=True).stdout
    home = environment(layout.root.parent / "home")
    done = subprocess.run([sys.executable, "-c", LOOK, str(layout.root)], env=home, capture_output=True, text=True)
    assert done.stdout == "[True, False]\n", done.stderr[-3000:]
    assert not layout.drawn.exists()  # the remembered catalogue, not one of its own
    bare = [sys.executable, "-m", "entityclip", "run", "--workspace", str(layout.root)]
    done = subprocess.run(bare, env=home, capture_output=True, text=True, timeout=10 * MINUTES)
    assert last_line(done)["reused"] == STEPS
    assert "reused: same rows, rules and code" in done.stdout
    assert Path(last_line(done)["report"]).read_bytes() == page  # it says how the model was made
    assert subprocess.run(head, cwd=layout.root, capture_output=True, text=True).stdout == before
    assert len(history(layout)) == 1


def planned(layout: Layout, catalog: Path, **changes: Any) -> dict[str, str]:
    """Step -> 'reused' or 'runs', and why, as ``--dry-run`` says it; nothing in the workspace is touched."""
    options: dict[str, Any] = {"epochs": None, "device": "cpu", "config": None, "products": 60} | changes
    named = Origin(preset="tiny", path=catalog, products=options.pop("products"))
    origin = source_for(layout, named, replace=True)
    before = {path: path.stat().st_mtime_ns for path in sorted(layout.root.rglob("*"))}
    steps = plan(layout, settings_of("tiny", layout, **options), origin)
    assert {path: path.stat().st_mtime_ns for path in sorted(layout.root.rglob("*"))} == before
    assert [step.name for step in steps] == STEPS
    return {step.name: f"{'reused' if step.reused else 'runs'}: {step.reason}" for step in steps}


def test_a_dry_run_names_what_changed_or_is_damaged_and_touches_nothing(first: Journey, catalog: Path) -> None:
    layout, _ = first
    assert all(texts.startswith("reused: ") for texts in planned(layout, catalog).values())
    other = planned(layout, catalog, epochs=7)
    assert other["version"].startswith("reused")
    assert re.fullmatch(r"runs: the setting epochs changed \(\d+ -> 7\)", other["train"])
    assert other["smoke"] == "runs: depends on the trained model"
    assert "or of another recipe" in planned(layout, catalog, products=61)["ingest"]

    def with_damage(path: Path, text: str) -> dict[str, str]:
        kept = path.read_bytes()
        path.write_text(text)
        texts = planned(layout, catalog)
        path.write_bytes(kept)
        return texts

    rules = layout.pairs_suite.read_text()
    assert re.match(
        r"runs: the rules \(suites\) changed \(\S+ -> \S+\)$",
        with_damage(layout.pairs_suite, rules.replace('"critical"', '"warning"', 1))["validate"],
    )
    shard = next(layout.data.pairs.glob("*.parquet"))
    assert with_damage(shard, "torn")["version"].startswith("runs: data/ is missing or damaged")
    weights = next(layout.work.glob("runs/*/checkpoint/*.safetensors"))
    assert "missing, or not the weights" in with_damage(weights, "torn")["train"]
    card = next(layout.work.glob("runs/*/checkpoint/card.json"))
    earlier = CheckpointCard.model_validate_json(card.read_text()).model_copy(update={"open_set": None})
    without = with_damage(card, earlier.model_dump_json())
    assert without["calibrate"] == "runs: the model card has no open-set rule yet"
    assert without["evaluate"] == "runs: depends on the calibrated model"
    bento = next(path for path in layout.bento_home.rglob("service.py"))
    assert (
        with_damage(bento, "torn")["package"]
        == "runs: the Bento of v1.0.0 is missing, damaged or built from other sources"
    )
    tested = layout.receipt("smoke-v1.0.0")
    assert with_damage(tested, "{}")["smoke"] == "runs: v1.0.0 has no receipt of a smoke test"


def test_a_worse_challenger_leaves_the_champion_in_service(first: Journey, catalog: Path) -> None:
    layout, _ = first
    settings = layout.config.read_text()
    layout.config.write_text(settings.replace("min_gain: 0.0", "min_gain: 50.0"))
    done = retrain(layout.root, "--source-path", str(catalog), "--products", "60", "--epochs", "3")
    layout.config.write_text(settings)
    assert last_line(done)["reused"][:4] == ["ingest", "explain", "validate", "version"]
    assert "The champion is v1.0.0" in done.stdout
    kept = [PromotionDecision.read(path) for path in layout.reports.glob("decisions/*.json")]
    assert sorted(d.promoted for d in kept if d) == [False, True]


def state_of_the_last_run(home: Path) -> tuple[str, str]:
    """Type and message of the state that Prefect keeps of the main job's last run."""
    with sqlite3.connect(home / "prefect.db") as database:
        found: tuple[str, str] = database.execute(
            "SELECT s.type, s.message FROM flow_run r JOIN flow_run_state s ON r.state_id = s.id "
            "WHERE r.name LIKE 'retrain-%' ORDER BY r.created DESC LIMIT 1"
        ).fetchone()
    return found


def test_refused_texts_fail_the_run_with_the_reason_and_the_champion_is_untouched(
    first: Journey, catalog: Path, tmp_path: Path
) -> None:
    layout, _ = first
    spoilt = tmp_path / "spoilt"
    shutil.copytree(catalog, spoilt)
    products = pd.read_csv(spoilt / "products.csv", dtype="str", keep_default_na=False)
    products.loc[: len(products) // 2, "explanation_a"] = "As an AI language model, I cannot see this product."
    products.to_csv(spoilt / "products.csv", index=False)
    mapping = tmp_path / "mapping.yaml"
    mapping.write_text(MAPPING.model_dump_json())
    before = champion(layout), folder_hash(layout.data.root), folder_hash(layout.model.root)
    settings = layout.config.read_text()
    layout.config.write_text(settings.replace("max_exchanged_texts: 20000", "max_exchanged_texts: 700"))
    # As a table: the catalogue's own source would draw a spoilt catalogue again.
    table = ("--source", "table", "--source-path", str(spoilt), "--mapping", str(mapping))
    done = retrain(layout.root, *table)
    assert f"its data come from: catalog, {catalog}" in done.stderr.splitlines()[-1]
    assert (champion(layout), folder_hash(layout.data.root), folder_hash(layout.model.root)) == before
    done = retrain(layout.root, *table, "--replace-source")
    assert done.returncode == 1
    _, _, reason = done.stderr.rpartition("\nGateRefused: the batch was refused: ")
    assert "refusal 3" in reason
    assert "entityclip review export" in reason.splitlines()[-1]
    state, message = state_of_the_last_run(layout.root.parent / "home")
    assert state == "FAILED"
    assert "the batch was refused" in message
    assert (champion(layout), folder_hash(layout.data.root), folder_hash(layout.model.root)) == before
    text_quality = TextQualityModel.read(layout.text_quality)
    assert text_quality is not None
    assert before[0] is not None
    limits = ClaimModel.read(layout.claim_limits)
    assert limits is not None
    assert text_quality.learned_from["judge"] == limits.judge == before[0].model_fingerprint
    layout.config.write_text(settings)


def test_a_refused_batch_fails_the_run_with_the_reason_and_changes_nothing(tmp_path: Path) -> None:
    source = tmp_path / "shop"
    draw_catalog(source, products=20, faults=False)
    table = (source / "pictures.csv").read_text().splitlines()
    column = table[0].split(",").index("caption")
    blank = [",".join("" if i == column else cell for i, cell in enumerate(row.split(","))) for row in table[1:]]
    (source / "pictures.csv").write_text("\n".join([table[0], *blank]) + "\n")
    mapping = tmp_path / "mapping.yaml"
    mapping.write_text("entity: code\ncategory: kind\nentities:\n  entity: code\n")
    done = retrain(tmp_path / "workspace", "--source", "table", "--source-path", str(source), "--mapping", str(mapping))
    assert done.returncode == 1
    assert "\nGateRefused: the batch was refused: " in done.stderr
    assert "Traceback" not in done.stderr
    assert not Layout(tmp_path / "workspace").data_dvc.exists()


def test_a_source_that_is_not_there_is_one_clear_line(tmp_path: Path) -> None:
    done = retrain(tmp_path / "workspace", "--source", "grocery", "--source-path", str(tmp_path / "nowhere"))
    assert done.returncode == 1
    # On a busy machine, the server of the run can still log that it was cancelled.
    assert sum(line.startswith("SourceError: ") for line in done.stderr.splitlines()) == 1
