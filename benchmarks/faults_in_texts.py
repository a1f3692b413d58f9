"""What the scores of texts catch: faults by kind, planted into sound texts, and what sound texts are set aside for it.

    python benchmarks/faults_in_texts.py --json
    python benchmarks/faults_in_texts.py --source ../shared/grocery --json

Half of the entities are learned from, the other half is measured: the soundness model learns from faults planted into
the first half, once into single texts and once into all texts of an entity. Its threshold, which may set aside
--promise of the sound texts there, is held against faults planted into the second half, five times with other seeds.
A text is set aside when its probability of being sound is below the threshold. What the writer was told is the
entity's own sound text, as far as numbers are concerned.

Three judges look at the pictures, one after the other:

- ``none``: no model at all; what the texts alone give away;
- ``champion``: a model trained on the sound texts of all entities, as a nightly batch meets it;
- ``halves``: two models trained on the very texts that are judged, faults and all, each on the explanations of one
  half of the entities and judging those of the other: what a first run, without any champion, can do.

On the catalogue the demo preset trains for about five minutes on two cores, three times over; the photographs take the
grocery preset, and only ``none`` and ``champion``. ``--model`` takes a checkpoint in the champion's place.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import numpy as np
import pandas as pd
import typer
from machine import facts, peak_gib

from entityclip import checkpoint, pairs, presets, train
from entityclip.checkpoint import LoadedModel
from entityclip.derived import with_explanations
from entityclip.explain import BroughtWriter, explain
from entityclip.ingest import ingest
from entityclip.judge import judged
from entityclip.layout import CheckpointLayout, DataLayout, Layout
from entityclip.quality import score_explanations
from entityclip.quality.overall import FAULTS
from entityclip.quality.planted import KINDS, plant
from entityclip.quality.soundness import SoundnessModel, learn
from entityclip.sources.catalog import CatalogSource
from entityclip.sources.grocery import GrocerySource

By = Literal["text", "entity"]
WAYS: tuple[By, ...] = get_args(By)
FAULTY, PROMISE, ROUNDS = 0.2, 0.03, 5


class Bench:
    """One data set with everything that is planted into it, scored and judged."""

    def __init__(self, layout: Layout, config: train.TrainConfig, *, progress: bool) -> None:
        self._layout, self._config, self._progress = layout, config, progress
        self.data = layout.staging
        self.texts = pairs.read_frame(self.data.explanations)
        self.entities = pairs.read_frame(self.data.entities)
        ids = np.random.default_rng(0).permutation(self.entities["entity_id"])
        self.learned, self.measured = set(ids[: len(ids) // 2]), set(ids[len(ids) // 2 :])

    def planted(self, half: set[str], *, by: By, seed: int) -> pd.DataFrame:
        """The texts of one half with faults in them."""
        some = self.texts[self.texts["entity_id"].isin(half)]
        return plant(some, self.entities, share=FAULTY, by=by, seed=seed)

    def scored(self, planted: pd.DataFrame, judge: LoadedModel | None) -> pd.DataFrame:
        """All scores; those of the pictures where there is a judge."""
        scored = score_explanations(planted, self.entities, brought=self.texts[["entity_id", "text"]])
        return scored if judge is None else judged(judge, scored, self.data, progress=self._progress)

    def trained(self, name: str, texts: pd.DataFrame) -> LoadedModel:
        """A model of these explanations, and of all pictures with their captions."""
        data, run = DataLayout(self._layout.root / f"{name}-data"), self._layout.run(name)
        with_explanations(self.data, texts[list(self.texts)], into=data)
        train.fit(self._config, data=data, data_hash="", run=run, report=lambda *_: None, progress=self._progress)
        return checkpoint.load(run.checkpoint)


def measured(bench: Bench, judge: LoadedModel | None, *, promise: float) -> dict[str, Any]:
    """Learn on one half, with this judge, and measure on the other, planted ``ROUNDS`` times over."""
    lessons = [bench.scored(bench.planted(bench.learned, by=by, seed=1), judge) for by in WAYS]
    model = taught(pd.concat(lessons, ignore_index=True), promise=promise)
    answer: dict[str, Any] = {}
    for by in WAYS:
        rounds = [bench.planted(bench.measured, by=by, seed=2 + turn) for turn in range(ROUNDS)]
        answer[by] = caught(pd.concat([bench.scored(texts, judge) for texts in rounds], ignore_index=True), model)
    return answer


def measured_by_halves(bench: Bench, *, promise: float) -> dict[str, Any]:
    """The same where both judges had to learn from texts with faults: each judges the half that it has not read."""
    answer: dict[str, Any] = {}
    for by in WAYS:
        lesson, test = bench.planted(bench.learned, by=by, seed=1), bench.planted(bench.measured, by=by, seed=2)
        model = taught(bench.scored(lesson, bench.trained(f"{by}-b", test)), promise=promise)
        answer[by] = caught(bench.scored(test, bench.trained(f"{by}-a", lesson)), model)
    return answer


def taught(lessons: pd.DataFrame, *, promise: float) -> SoundnessModel:
    """The soundness model of planted texts."""
    return learn(
        lessons, lessons["planted"].isna(), learned_from={"benchmark": "faults_in_texts"}, false_alarms=promise
    )


def caught(scored: pd.DataFrame, model: SoundnessModel) -> dict[str, Any]:
    """Share of each kind that is set aside, in percent, and of the sound texts; and swaps that hold no name, apart."""
    aside = model.probability(scored) < model.threshold
    kind = scored["planted"].fillna("sound")
    nameless = kind.str.startswith("swapped") & scored["other_entity"].isna()
    share = (100 * aside.groupby(kind).mean()).round(1)
    hidden = (100 * aside[nameless].groupby(kind[nameless]).mean()).round(1)
    return {
        "caught": {name: share[name] for name in KINDS if name in share},
        "caught_nameless": hidden.to_dict(),
        "false_alarms": share["sound"],
        "found_by": {name: found_by(scored[kind == name]) for name in ("sound", *KINDS) if name in share},
        "planted": scored["planted"].value_counts().to_dict(),
        "sound": int((kind == "sound").sum()),
    }


def found_by(scored: pd.DataFrame) -> dict[str, float]:
    """Fault column -> percent of these texts that it marks, the most often first."""
    marked = (100 * scored[[*FAULTS, "open_end"]].notna().mean()).round(1)
    return {str(name): value for name, value in marked.sort_values(ascending=False).items() if value}


def prepared(layout: Layout, source: Path | None, *, progress: bool) -> None:
    """The data set in the layout's staging, with the texts that it brings along."""
    opened = GrocerySource(source) if source else CatalogSource(layout.drawn, faults=False, progress=progress)
    ingest(opened, staging=layout.staging, rejected=layout.rejected(opened.name), progress=progress)
    explain(layout.staging, writer=BroughtWriter(), ledger=layout.ledger)


def main(
    source: Annotated[
        Path | None, typer.Option(help="Folder of the Grocery Store data set; else the catalogue.")
    ] = None,
    model: Annotated[Path | None, typer.Option(help="A checkpoint as the champion; nothing is trained for it.")] = None,
    halves: Annotated[bool, typer.Option(help="Also train the models of a first run, four times five minutes.")] = True,
    epochs: Annotated[int | None, typer.Option(help="Another number of epochs than the preset's.")] = None,
    promise: Annotated[float, typer.Option(help="Share of sound texts that may be set aside.")] = PROMISE,
    as_json: Annotated[bool, typer.Option("--json", help="Only the JSON object.")] = False,
) -> None:
    """Plant, learn, measure; print one JSON object, last. ``caught`` and ``false_alarms`` are the champion's."""
    config = (presets.grocery() if source else presets.demo()).train
    config = config.model_copy(update={"epochs": epochs}) if epochs else config
    with tempfile.TemporaryDirectory() as folder:
        layout = Layout(Path(folder))
        prepared(layout, source, progress=not as_json)
        bench = Bench(layout, config, progress=not as_json)
        judge = checkpoint.load(CheckpointLayout(model)) if model else bench.trained("champion", bench.texts)
        judges = {"none": measured(bench, None, promise=promise), "champion": measured(bench, judge, promise=promise)}
        if halves and not source:
            judges["halves"] = measured_by_halves(bench, promise=promise)
    first = judges["champion"]["text"]
    answer = {"caught": first["caught"], "false_alarms": first["false_alarms"], "judges": judges}
    if not as_json:
        print(pd.DataFrame({(j, by): found["caught"] for j, two in judges.items() for by, found in two.items()}))
    print(json.dumps(answer | {"epochs": config.epochs, "peak_gib": peak_gib()} | facts()))


if __name__ == "__main__":
    typer.run(main)
