"""What each rule of the gate is worth in recall: the drawn catalogue with every kind of fault planted into its texts.

    python benchmarks/rules_worth.py --model CHECKPOINT --json

A share of the texts goes wrong, as many in each way (``quality/planted.py``). The committed rules set texts aside,
with the model as judge where one is named; then the demo preset trains without any gate, with it, and without one rule
after the other, as ``entityclip gate-report`` does on a workspace. Killed, the same command goes on where it was.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Annotated, Any

import typer
from gate_effect import LEARNED_SEED, clean_catalog, found_share, gated, with_texts
from machine import facts, peak_gib

from entityclip import checkpoint, pairs, presets
from entityclip.gate_report import Study, Trained, recall_table, retrain, variants, worth_table
from entityclip.gate_report.page import markdown
from entityclip.layout import CheckpointLayout, GateLayout, Layout
from entityclip.quality.planted import plant
from entityclip.soundness import learn_soundness
from expectations.check import Judges


def told(trained: Trained) -> None:
    """One line for each training."""
    recall = trained.result.measured.evaluation.value("R@1", index="explanation")
    print(f"{trained.variant.name}, seed {trained.seed}: R@1 {recall:.1f}", file=sys.stderr, flush=True)


def main(
    to: Annotated[Path, typer.Option(help="Where everything is kept.")] = Path("build/rules-worth"),
    model: Annotated[Path | None, typer.Option(help="Checkpoint of a champion that judges beside the rules.")] = None,
    share: Annotated[float, typer.Option(min=0, max=1, help="Of the texts that go wrong.")] = 0.5,
    seeds: Annotated[int, typer.Option(min=1, help="Trainings of each variant.")] = 1,
    epochs: Annotated[int | None, typer.Option(min=1, help="Another number of epochs than the preset's.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Only the JSON object.")] = False,
) -> None:
    """Plant, judge, train; print both tables, and one JSON object last."""
    started, layout, kept = time.monotonic(), Layout(to), GateLayout(to / "report")
    config = presets.demo().train
    config = config if epochs is None else config.model_copy(update={"epochs": epochs})
    clean = clean_catalog(layout, products=300)
    texts, entities = pairs.read_frame(clean.explanations), pairs.read_frame(clean.entities)
    planted = plant(texts, entities, share=share, seed=0)
    batch = with_texts(clean, planted.drop(columns="planted"), kept.runs.data("batch"))
    judge = None if model is None else checkpoint.load(CheckpointLayout(model))
    soundness = None if judge is None else learn_soundness(judge, clean, seed=LEARNED_SEED)
    found = gated(batch, layout, Judges(judge, soundness))
    study = Study(batch, pairs.digest(*planted["text"], *planted["entity_id"]), config, seeds, kept.runs)
    planned = variants(pairs.read_frame(batch.explanations), found.broken)
    trained = list(retrain(study, planned, report=told, progress=sys.stderr.isatty()))
    recall, worth = recall_table(trained), worth_table(trained, found.broken)
    if not as_json:
        print(f"{markdown(recall, 'variant')}\n{markdown(worth, 'rule')}")
    answer: dict[str, Any] = {"recall": recall.to_dict("records"), "worth": worth.to_dict("records")}
    answer |= found_share(planted, found.broken)
    answer |= {"share": share, "seeds": seeds, "epochs": config.epochs}
    print(json.dumps(answer | {"seconds": round(time.monotonic() - started), "peak_gib": peak_gib()} | facts()))


if __name__ == "__main__":
    typer.run(main)
