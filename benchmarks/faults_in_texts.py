"""Detection rate of the text scores: faults by kind, injected into correct texts, at a fixed false-positive rate.

    python benchmarks/faults_in_texts.py --json
    python benchmarks/faults_in_texts.py --source ../shared/grocery --splits 8 --json

One half of the entities is for training, the other for measuring. The text-quality model is fitted on faults that are
injected into the first half, once into single texts and once into all texts of an entity. Its threshold, which may
quarantine --promise of the correct texts there, is tested on faults injected into the second half, five times with
other seeds. A text is quarantined if its probability of being faultless is below the threshold. For the checks of
numbers, the input of the writer is the entity's own correct text. If there are too few texts for all kinds at once, the
kinds are injected one after the other; if a half has few entities, --splits repeats the split and pools the results.

Three models look at the pictures, one after the other:

- ``none``: no model; what the texts alone reveal;
- ``champion``: a model trained on the correct texts of all entities, as for a nightly batch;
- ``halves``: two models trained on the texts to be judged, faults included, each on the explanations of one half and
  applied to the other half, as in a first run without a champion.

On the catalogue, the demo preset trains for about five minutes on two cores, three times. The photographs use the
grocery preset, and only ``none`` and ``champion``. ``--model`` replaces the champion by a checkpoint.

Faults in one attribute (another colour, pattern, part, label, count or material; a part that is not there, or nothing
about one that is) are planted on --unseen further products of the catalogue, which the champion was not trained on, in
one text of each product and in all of them. They are found by the gate as it is made from the first products: by text
quality, a contradicted claim or an unusual one. ``caught`` has the share of all that were planted, by any of them, in
one text of a product; ``unseen.first_run`` what a first run finds without a champion, by contradicted claims alone.
``--texts ja`` takes the Japanese texts.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, get_args

import numpy as np
import pandas as pd
import typer
from lib.attribute_bench import Gate, UnseenProducts, measured_on_a_first_run
from lib.attribute_bench import measured as measured_attributes
from lib.machine import facts, peak_gib

from entityclip import training
from entityclip.data import pairs
from entityclip.data.ingest import ingest
from entityclip.data.sources.catalog import CatalogSource
from entityclip.data.sources.grocery import GrocerySource
from entityclip.data.variants import with_explanations
from entityclip.explanations import SourceWriter, explain
from entityclip.model import checkpoint
from entityclip.model.backbones import BackboneConfig
from entityclip.model.checkpoint import LoadedModel
from entityclip.paths import CheckpointLayout, DataLayout, Layout
from entityclip.quality import score_explanations
from entityclip.quality.claims.claim_model import fit_claim_model
from entityclip.quality.claims.vocabulary import read_vocabulary
from entityclip.quality.fault_injection import KINDS, Kind, inject_faults
from entityclip.quality.fit_text_quality import fit_text_quality
from entityclip.quality.model_scores import EntityPictures, embed_pictures, score_with_model
from entityclip.quality.quality_score import FAULTS
from entityclip.quality.text_quality_model import TextQualityModel, fit_model
from entityclip.quality.tower_pictures import tower_at_hand
from entityclip.training import presets
from entityclip.training.trainer import fit

By = Literal["text", "entity"]
Texts = Literal["en", "ja"]
WAYS: tuple[By, ...] = get_args(By)
FAULTY, PROMISE, ROUNDS = 0.2, 0.03, 5
FEWEST_EACH = 3
"""Texts, or entities, of each kind that are planted at once; of fewer, a group of copies would find none."""


class Halves(NamedTuple):
    """Entities for training, and entities for measuring."""

    learned: set[str]
    measured: set[str]


class Judge(NamedTuple):
    """A model, and its vectors of the pictures."""

    model: LoadedModel
    seen: EntityPictures


class FaultBench:
    """One data set with its injected faults, scored."""

    def __init__(self, layout: Layout, config: training.TrainConfig, *, progress: bool) -> None:
        self._layout, self._config, self._progress = layout, config, progress
        self.data = layout.staging
        self.texts = pairs.read_frame(self.data.explanations)
        self.entities = pairs.read_frame(self.data.entities)
        once = self.texts["entity_id"].is_unique
        self.ways: tuple[By, ...] = ("text",) if once else WAYS  # one text is all texts of its entity

    def halves(self, split: int) -> Halves:
        """The entities, split in two at random."""
        ids = np.random.default_rng(split).permutation(self.entities["entity_id"])
        return Halves(set(ids[: len(ids) // 2]), set(ids[len(ids) // 2 :]))

    def planted(self, half: set[str], *, by: By, seed: int) -> list[pd.DataFrame]:
        """Texts of one half with injected faults, repeated until every kind has enough texts."""
        some = self.texts[self.texts["entity_id"].isin(half)]
        units = len(some) if by == "text" else some["entity_id"].nunique()
        at_once = max(1, int(FAULTY * units) // FEWEST_EACH)
        turns: list[Sequence[Kind]] = [KINDS[start : start + at_once] for start in range(0, len(KINDS), at_once)]
        return [inject_faults(some, self.entities, share=FAULTY, kinds=kinds, by=by, seed=seed) for kinds in turns]

    def scored(self, planted: pd.DataFrame, judge: Judge | None) -> pd.DataFrame:
        """All scores; those of the pictures only with a model."""
        scored = score_explanations(planted, self.entities, source_provided=self.texts[["entity_id", "text"]])
        return scored if judge is None else score_with_model(judge.model, scored, self.data, seen=judge.seen)

    def judge(self, model: LoadedModel) -> Judge:
        """The model with its vectors of all pictures."""
        return Judge(model, embed_pictures(model, self.data, set(self.entities["entity_id"]), progress=self._progress))

    def trained(self, name: str, texts: pd.DataFrame) -> LoadedModel:
        """A model trained on these explanations and on all pictures with their captions."""
        data, run = DataLayout(self._layout.root / f"{name}-data"), self._layout.run(name)
        with_explanations(self.data, texts[list(self.texts)], into=data)
        fit(self._config, data=data, data_hash="", run=run, report=lambda *_: None, progress=self._progress)
        return checkpoint.load(run.checkpoint)


def measured(bench: FaultBench, judge: Judge | None, *, promise: float, splits: int) -> dict[str, Any]:
    """Fit on one half with this model, and measure on the other with faults injected ``ROUNDS`` times."""
    tests: dict[By, list[pd.DataFrame]] = {by: [] for by in bench.ways}
    for split in range(splits):
        learned, measured = bench.halves(split)
        lessons = [bench.scored(texts, judge) for by in bench.ways for texts in bench.planted(learned, by=by, seed=1)]
        model = taught(pd.concat(lessons, ignore_index=True), promise=promise)
        for by, found in tests.items():
            rounds = [texts for turn in range(ROUNDS) for texts in bench.planted(measured, by=by, seed=2 + turn)]
            found += [set_aside(bench.scored(texts, judge), model) for texts in rounds]
    return {by: caught(pd.concat(found, ignore_index=True)) for by, found in tests.items()}


def measured_by_halves(bench: FaultBench, *, promise: float) -> dict[str, Any]:
    """The same with two models trained on faulty texts; each scores the half that it was not trained on."""
    answer: dict[str, Any] = {}
    learned, measured = bench.halves(0)
    for by in bench.ways:
        (lesson,), (test,) = bench.planted(learned, by=by, seed=1), bench.planted(measured, by=by, seed=2)
        model = taught(bench.scored(lesson, bench.judge(bench.trained(f"{by}-b", test))), promise=promise)
        scored = bench.scored(test, bench.judge(bench.trained(f"{by}-a", lesson)))
        answer[by] = caught(set_aside(scored, model))
    return answer


def taught(lessons: pd.DataFrame, *, promise: float) -> TextQualityModel:
    """The text-quality model fitted on injected faults."""
    return fit_model(
        lessons, lessons["injected_fault"].isna(), learned_from={"benchmark": "faults_in_texts"}, false_alarms=promise
    )


def set_aside(scored: pd.DataFrame, model: TextQualityModel) -> pd.DataFrame:
    """``scored`` with a column for whether the text is quarantined."""
    return scored.assign(aside=model.probability(scored) < model.threshold)


def caught(scored: pd.DataFrame) -> dict[str, Any]:
    """Quarantined share in percent by kind and of the correct texts; swapped texts without a name separately."""
    aside = scored["aside"]
    kind = scored["injected_fault"].fillna("sound")
    nameless = kind.str.startswith("swapped") & scored["other_entity"].isna()
    share = (100 * aside.groupby(kind).mean()).round(1)
    hidden = (100 * aside[nameless].groupby(kind[nameless]).mean()).round(1)
    return {
        "caught": {name: share[name] for name in KINDS if name in share},
        "caught_nameless": hidden.to_dict(),
        "false_alarms": share["sound"],
        "found_by": {name: found_by(scored[kind == name]) for name in ("sound", *KINDS) if name in share},
        "planted": scored["injected_fault"].value_counts().to_dict(),
        "sound": int((kind == "sound").sum()),
    }


def found_by(scored: pd.DataFrame) -> dict[str, float]:
    """Fault column -> percent of these texts that it marks, in descending order."""
    marked = (100 * scored[[*FAULTS, "open_end"]].notna().mean()).round(1)
    return {str(name): value for name, value in marked.sort_values(ascending=False).items() if value}


def on_unseen_products(
    bench: FaultBench, judge: LoadedModel, *, products: int, unseen: int, texts: Texts
) -> dict[str, Any]:
    """Faults in one attribute, on products that the champion was not trained on."""
    with tempfile.TemporaryDirectory() as folder:
        tower = tower_at_hand(BackboneConfig(), Path(folder) / "seen")
        claims = fit_claim_model(judge, bench.data, vocabulary=read_vocabulary(), tower=tower)
        gate = Gate(judge, fit_text_quality(judge, bench.data), claims, tower)
        others = UnseenProducts(Layout(Path(folder)), seen=products, unseen=unseen, language=texts)
        found = measured_attributes(others, gate)
        if tower is not None:
            found["first_run"] = measured_on_a_first_run(others, tower)
    limits = [limit.model_dump(exclude={"values", "constants"}) for limit in gate.claims.attributes]
    return found | {"products": unseen, "picture_size": judge.card.preprocessing.size, "limits": limits}


def prepared(layout: Layout, source: Path | None, *, products: int, texts: Texts, progress: bool) -> None:
    """The data set in staging, with its own texts."""
    drawn = partial(CatalogSource, layout.drawn, faults=False, products=products, texts=texts, progress=progress)
    opened = GrocerySource(source) if source else drawn()
    ingest(opened, staging=layout.staging, rejected=layout.rejected(opened.name), progress=progress)
    explain(layout.staging, writer=SourceWriter(), ledger=layout.ledger)


def main(
    source: Annotated[
        Path | None, typer.Option(help="Folder of the Grocery Store data set; else the catalogue.")
    ] = None,
    products: Annotated[int, typer.Option(help="Products of the catalogue.")] = 300,
    model: Annotated[Path | None, typer.Option(help="A checkpoint as the champion; nothing is trained for it.")] = None,
    halves: Annotated[bool, typer.Option(help="Also train the models of a first run, four times five minutes.")] = True,
    epochs: Annotated[int | None, typer.Option(help="Another number of epochs than the preset's.")] = None,
    promise: Annotated[float, typer.Option(help="Share of sound texts that may be set aside.")] = PROMISE,
    splits: Annotated[int, typer.Option(min=1, help="Times that the entities are halved.")] = 1,
    unseen: Annotated[int, typer.Option(help="Further products, with faults in one attribute; 0: none.")] = 100,
    texts: Annotated[Texts, typer.Option(help="Language of the catalogue's texts.")] = "en",
    kinds: Annotated[bool, typer.Option(help="Also the kinds of faults in whole texts.")] = True,
    as_json: Annotated[bool, typer.Option("--json", help="Only the JSON object.")] = False,
) -> None:
    """Inject, fit, measure; print one JSON object last. ``caught`` and ``false_alarms`` are the champion's."""
    if halves and not source and FAULTY * products / 2 < FEWEST_EACH * len(KINDS):
        raise typer.BadParameter(
            "the models of a first run learn from all kinds at once; take more products, or --no-halves"
        )
    config = (presets.grocery() if source else presets.demo()).train.changed(epochs=epochs)
    with tempfile.TemporaryDirectory() as folder:
        layout = Layout(Path(folder))
        prepared(layout, source, products=products, texts=texts, progress=not as_json)
        bench = FaultBench(layout, config, progress=not as_json)
        judge = checkpoint.load(CheckpointLayout(model)) if model else bench.trained("champion", bench.texts)
        tried = {"none": None, "champion": bench.judge(judge)} if kinds else {}
        judges = {name: measured(bench, one, promise=promise, splits=splits) for name, one in tried.items()}
        if kinds and halves and not source:
            judges["halves"] = measured_by_halves(bench, promise=promise)
        others: dict[str, Any] = {}
        if unseen and not source:
            others = on_unseen_products(bench, judge, products=products, unseen=unseen, texts=texts)
    first = judges["champion"]["text"] if kinds else {"caught": {}, "false_alarms": None}
    attributes = {name: found["any"] for name, found in others["text"]["found"].items()} if others else {}
    answer: dict[str, Any] = {"caught": first["caught"] | attributes, "false_alarms": first["false_alarms"]}
    answer |= {"judges": judges, "unseen": others}
    if not as_json:
        print(pd.DataFrame({(j, by): found["caught"] for j, two in judges.items() for by, found in two.items()}))
    answer |= {"products": None if source else products, "splits": splits, "epochs": None if model else config.epochs}
    print(json.dumps(answer | {"peak_gib": peak_gib()} | facts()))


if __name__ == "__main__":
    typer.run(main)
