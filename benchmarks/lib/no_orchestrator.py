"""The steps of the main job one after the other, for ``overhead.py``: no Prefect, Great Expectations, DVC, BentoML.

    python benchmarks/lib/no_orchestrator.py SOURCE MAPPING FOLDER --preset tiny

Nothing is versioned, checked against rules, packaged or served. All computations on rows and weights remain: rows are
read, texts explained and scored, the model is trained, calibrated, evaluated and compared, indexes are built and probes
queried. The last line is one JSON object: fingerprint, largest_difference.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from entityclip.data import pairs
from entityclip.data.images import decode
from entityclip.data.ingest import ingest
from entityclip.data.sources.mapping import TableMapping
from entityclip.data.sources.table import TableSource
from entityclip.evaluation import promotion
from entityclip.evaluation.calibrate import calibrate
from entityclip.evaluation.evaluate import evaluate
from entityclip.explanations import SourceWriter, explain
from entityclip.model import checkpoint
from entityclip.model.checkpoint_card import CheckpointCard
from entityclip.paths import DataLayout, Layout
from entityclip.quality import score_explanations, score_pairs
from entityclip.retrieval.index import EntityIndex, PictureIndex
from entityclip.retrieval.rerank import calibrate_rerank
from entityclip.schemas import EvalReport, PromotionPolicy
from entityclip.training import run_key
from entityclip.training.presets import Preset
from entityclip.training.presets import preset as named_preset
from entityclip.training.trainer import fit


def prepare(layout: Layout, source: Path, mapping: Path, preset: Preset) -> DataLayout:
    """Read, explain and score the rows; each pair gets the first text of its entity."""
    rows = TableSource(source, mapping=TableMapping.read(mapping))
    ingest(
        rows,
        staging=layout.staging,
        rejected=layout.rejected("plain"),
        shares=preset.shares(),
    )
    explain(layout.staging, writer=SourceWriter(), ledger=layout.ledger)
    staging, data = layout.staging, layout.data
    score_pairs(pairs.read_frame(staging.pairs))
    texts, source_provided = pairs.read_frame(staging.explanations), pairs.read_frame(staging.source_provided)
    score_explanations(texts, pairs.read_frame(staging.entities), source_provided=source_provided)
    first = texts.drop_duplicates("entity_id").set_index("entity_id")["text"].to_dict()
    pairs.start(data)
    kept = pairs.PairsWriter(data.pairs)
    for row in pairs.iter_rows(staging.pairs):
        kept.add({**row, "explanation": first.get(row["entity_id"])})
    of_split = kept.close()
    for folder, to, schema in (
        (staging.entities, data.entities, pairs.ENTITIES),
        (staging.explanations, data.explanations, pairs.EXPLANATIONS),
    ):
        pairs.write_rows(to, schema, pairs.iter_rows(folder), name=to.name)
    pairs.finish(data, pairs=sum(of_split.values()), **of_split)
    return data


def learn(layout: Layout, data: DataLayout, preset: Preset) -> tuple[CheckpointCard, EvalReport]:
    """Train, calibrate, evaluate, compare."""
    run = layout.run("plain")
    data_hash = run_key(preset.train, data_hash="plain")
    fit(preset.train, data=data, data_hash=data_hash, run=run, report=lambda *_: None, decoded=layout.decoded)
    model = checkpoint.load(run.checkpoint)
    calibrated = calibrate(model, data)
    calibrated.write(run.checkpoint.card)
    weight = calibrate_rerank(checkpoint.load(run.checkpoint), data)
    calibrated.model_copy(update={"rerank": weight}).write(run.checkpoint.card)
    report, _ = evaluate(checkpoint.load(run.checkpoint), data, split="test")
    promotion.decide(report, [], policy=PromotionPolicy(), data_hash=data_hash, suite_hash="none")
    return calibrated, report


def largest_difference(layout: Layout, data: DataLayout, report: EvalReport) -> float:
    """Largest difference between this process's indexes and the evaluator's probes."""
    model = checkpoint.load(layout.run("plain").checkpoint)
    entities = EntityIndex.build(model, data, pictures=PictureIndex.build(model, data, split="train"))
    wanted = {probe.pair_id: probe for probe in report.probes}
    worst = 0.0
    for row in pairs.iter_rows(data.pairs, columns=["pair_id", "image"]):
        if row["pair_id"] in wanted:
            similar = entities.similarities(model.embed_images([decode(row["image"]["bytes"])])[0], "mixed")
            scores = dict(zip(entities.rows["entity"], similar, strict=True))
            expected = wanted[row["pair_id"]].scores
            worst = max(worst, *(abs(float(scores[name]) - score) for name, score in expected.items()))
    return worst


def main(
    source: Annotated[Path, typer.Argument(help="Folder of the table.")],
    mapping: Annotated[Path, typer.Argument(help="Its mapping.")],
    folder: Annotated[Path, typer.Argument(help="A new folder.")],
    preset: Annotated[str, typer.Option(help="As of the main job.")] = "tiny",
) -> None:
    """All steps; print one JSON object, last."""
    layout, settings = Layout(folder), named_preset(preset)
    data = prepare(layout, source, mapping, settings)
    card, report = learn(layout, data, settings)
    seen = largest_difference(layout, data, report)
    print(json.dumps({"fingerprint": card.fingerprint, "largest_difference": seen}))


if __name__ == "__main__":
    typer.run(main)
