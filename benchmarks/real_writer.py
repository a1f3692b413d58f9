"""A real language model as the writer: what its texts claim, what is true of it, and what the gate finds.

    python benchmarks/real_writer.py --model MODELS/gemma --gguf gemma.gguf --champion build/demo/model --json
    python benchmarks/real_writer.py --model MODELS/gemma --gguf gemma.gguf --notes none --write 80 --train --json
    python benchmarks/real_writer.py --model MODELS/gemma --gguf gemma.gguf --source shared/grocery --json

The case is a nightly batch: the champion knows the first --seen products of the drawn catalogue, and the model writes
one text for each of --write new ones. It is a base model with a few-shot prompt, whose examples are texts of the first
products. With ``--notes source`` a request carries the texts of the source, so that a true text only has to keep to
them; with ``--notes none`` it carries name, code and kind, so that everything about the looks is invented.

The batch goes through the committed rules. Every claim of every text is exchanged, and read off the pictures by probes
of the pretrained tower. The generator knows the looks, so every claim of a written text is judged exactly
(``lib/claim_truth.py`` says how). ``missed_claims`` are wrong claims in texts that the gate lets pass. ``corrected``
has the same figures with the colours of the source in place of those that the source contradicts.

--train trains three small models on the new products, from the written texts, from those that the gate lets pass, and
from the source's own texts: ``r1_ungated``, ``r1_gated`` and ``r1_source`` are R@1 in percent, picture to explanation.

On the Grocery Store data set (--source) nothing is known of the looks: only the writer's figures and the gate's rules
on words are given. If the command is killed, run it again: the ledger and the runs in --to are kept. Without the model
it prints why and ends.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, get_args

import pandas as pd
import typer
from gate_effect import GateBench, by_slice, gated, trained, with_texts
from lib.attribute_bench import MOST_TEXTS, SEED, UnseenProducts
from lib.claim_truth import ClaimJudge, claim_figures, copied_share, judged
from lib.faultless_catalog import faultless_catalog
from lib.machine import facts, peak_gib

from entityclip.data import pairs
from entityclip.data.ingest import ingest
from entityclip.data.sources.grocery import GrocerySource
from entityclip.explanations import Ledger, Requests, Writer, open_writer, rejections, writer_config
from entityclip.explanations.few_shot import write_examples
from entityclip.explanations.stage import answered, replace_texts
from entityclip.model import checkpoint
from entityclip.model.backbones import BackboneConfig
from entityclip.model.checkpoint import LoadedModel
from entityclip.paths import AblationLayout, CheckpointLayout, DataLayout, Layout, claims_beside
from entityclip.quality.claims.claim_model import fit_claim_model
from entityclip.quality.claims.correct import corrected_texts
from entityclip.quality.claims.vocabulary import read_vocabulary
from entityclip.quality.fit_text_quality import fit_text_quality
from entityclip.quality.tower_pictures import PretrainedTower, tower_at_hand
from entityclip.schemas import ExplanationRequest, Split
from entityclip.training import TrainConfig, presets
from entityclip.training.trainer import fit
from expectations.check import GateScorers

Notes = Literal["source", "none"]
Language = Literal["en", "ja"]


class RequestsOfSome(Requests):
    """The requests of some entities, with or without the texts of the source.

    Args:
        data: Staging.
        wanted: Ids of the entities; their first language.
        notes: What the requests carry.
    """

    def __init__(self, data: DataLayout, wanted: set[str], notes: Notes) -> None:
        super().__init__(data)
        self._wanted, self._notes = wanted, notes

    def __iter__(self) -> Iterator[ExplanationRequest]:
        for request in super().__iter__():
            if request.entity_id in self._wanted:
                yield request if self._notes == "source" else request.model_copy(update={"source_provided": ()})


class Written(NamedTuple):
    """What the model wrote."""

    texts: pd.DataFrame
    figures: dict[str, Any]


# ---------------------------------------------------------------- writing
def example_file(path: Path, data: DataLayout, known: set[str], notes: Notes) -> Path:
    """Examples from entities of the first products; without notes they have none, as the requests do."""
    some: list[ExplanationRequest] = []
    for request in RequestsOfSome(data, known, "source"):
        shown = request.source_provided if notes == "source" else request.source_provided[:1]
        some.append(request.model_copy(update={"source_provided": shown}))
    write_examples(path, some)
    return path


def written(writer: Writer, requests: RequestsOfSome, ledger: Path) -> Written:
    """One text for each entity, from the ledger or the model; what cannot be used is counted by its reason."""
    wanted = list(requests)
    print(f"{len(wanted)} texts by {writer.generator}; the ledger keeps every batch", file=sys.stderr)
    texts = [text.model_dump() for text in answered(requests, writer=writer, ledger=ledger, progress=True)]
    with Ledger(ledger) as book:
        cost = book.spent()
    rejected = rejections(requests, writer=writer, ledger=ledger)
    figures = {
        "requests": len(wanted),
        "rejected": dict(rejected),
        "rejected_share": round(rejected.total() / len(wanted), 3),
        "tokens": cost.tokens_in + cost.tokens_out,
        "tokens_out": cost.tokens_out,
        "seconds_writing": round(cost.seconds, 1),
    }
    return Written(pd.DataFrame(texts, columns=pairs.EXPLANATIONS.names), figures)


def by_rule(broken: pd.DataFrame, texts: pd.DataFrame) -> dict[str, Any]:
    """Share of the written texts that the gate sets aside, and by rule."""
    mine = broken[broken["id"].isin(texts["explanation_id"])]
    shares = mine.groupby("rule")["id"].nunique().sort_values(ascending=False) / len(texts)
    return {
        "set_aside_share": round(mine["id"].nunique() / len(texts), 3),
        "set_aside_by_rule": {str(rule): round(float(share), 3) for rule, share in shares.items()},
    }


# ---------------------------------------------------------------- the catalogue
def champion_of(layout: Layout, config: TrainConfig, seen: DataLayout) -> LoadedModel:
    """The champion, trained on the first products; kept."""
    run = layout.run("champion")
    fit(config, data=seen, data_hash="", run=run, report=lambda *_: None, progress=sys.stderr.isatty())
    return checkpoint.load(run.checkpoint)


class Catalogue(NamedTuple):
    """The first products, which the champion knows, and the new ones."""

    seen: DataLayout
    products: UnseenProducts
    layout: Layout
    language: Language
    notes: Notes
    tower: PretrainedTower | None
    """Reads the pictures for the probes of claims, as it does in the main job; None without one."""

    def figures(self, texts: pd.DataFrame, champion: LoadedModel) -> tuple[dict[str, Any], set[str]]:
        """What the gate finds of the written texts; and the texts that it sets aside."""
        claim_model = fit_claim_model(champion, self.seen, vocabulary=read_vocabulary(), tower=self.tower)
        quality = fit_text_quality(champion, self.seen)
        scorers = GateScorers(
            champion, quality, tower=self.tower, claim_model=claim_model, max_exchanged_texts=MOST_TEXTS
        )
        folder = DataLayout(self.layout.root / "batch")
        batch = with_texts(self.products.data, pd.concat([self.products.known, texts]), folder)
        if self.notes == "none":
            _without_sources(batch, set(self.products.products))
        found = gated(batch, self.layout, scorers)
        claims = pd.read_parquet(claims_beside(self.layout.quarantine("batch")))
        words = claim_model.vocabulary
        judge = ClaimJudge(self.products.products, language=self.language, seed=SEED, vocabulary=words)
        aside = set(found.broken["id"])
        return {
            **claim_figures(judged(claims, texts, judge), aside),
            **by_rule(found.broken, texts),
            "copied_share": copied_share(texts, self.products.texts),
            "batch_refused": found.report.refusal,
        }, aside

    def corrected(self, texts: pd.DataFrame, champion: LoadedModel) -> dict[str, Any]:
        """The same figures with the colours of the source, and the number of texts that this changes."""
        source = pairs.read_frame(self.products.data.source_provided)
        found = list(corrected_texts(texts, source, read_vocabulary()))
        mended = texts.reset_index(drop=True)
        mended.loc[[one.position for one in found], "text"] = [one.text for one in found]
        return {"texts": len(found)} | self.figures(mended, champion)[0]

    def trainings(self, texts: pd.DataFrame, aside: set[str], config: TrainConfig, seeds: int) -> dict[str, Any]:
        """R@1 of models trained on the new products, by which texts they learned from."""
        wanted = set(self.products.products)
        small = _only(self.products.data, wanted, DataLayout(self.layout.root / "new"))
        bench = GateBench(small, config, AblationLayout(self.layout.root / "trained"))
        kept = texts[~texts["explanation_id"].isin(aside)]
        tried = {"r1_source": self.products.texts, "r1_ungated": texts, "r1_gated": kept}
        return {
            name: by_slice([trained(bench, name, some, seed)[1] for seed in range(seeds)])["all"]
            for name, some in tried.items()
            if len(some)
        }


def _without_sources(batch: DataLayout, products: set[str]) -> None:
    """Remove the texts of the source about these products: where the writer gets none, the gate gets none."""
    rows = [row for row in pairs.iter_rows(batch.source_provided) if row["entity_id"] not in products]
    batch.source_provided.unlink()  # a link to the data
    pairs.write_rows(batch.source_provided, pairs.SOURCE_PROVIDED, rows, name="source_provided")


def _only(data: DataLayout, wanted: set[str], into: DataLayout) -> DataLayout:
    """The rows of some entities, as a batch of their own."""
    counts = pairs.require_complete(data)
    pairs.start(into)
    tables = [("entities", pairs.ENTITIES, "entities"), ("explanations", pairs.EXPLANATIONS, "explanations")]
    for table, schema, series in [*(("pairs", pairs.PAIRS, split) for split in get_args(Split)), *tables]:
        rows = (row for row in pairs.iter_rows(getattr(data, table), name=series) if row["entity_id"] in wanted)
        pairs.write_rows(getattr(into, table), schema, rows, name=series)
    into.source_provided.symlink_to(data.source_provided.resolve(), target_is_directory=True)
    pairs.finish(into, **{name: count for name, count in counts.items() if name != "schema_version"})
    return into


# ---------------------------------------------------------------- the command
def why_not(model: Path, gguf: str) -> str:
    """Why the benchmark cannot run; empty where it can."""
    if gguf and find_spec("gguf") is None:
        return "the package gguf is not installed: pip install gguf"
    needed = model / (gguf or "config.json")
    return "" if needed.is_file() else f"{needed} is missing: no language model to write with"


def main(
    model: Annotated[Path, typer.Option(help="Folder of a base model.")],
    gguf: Annotated[str, typer.Option(help="GGUF file in it; empty: saved by transformers.")] = "",
    source: Annotated[
        Path | None, typer.Option(help="Folder of the Grocery Store data set; else the catalogue.")
    ] = None,
    notes: Annotated[Notes, typer.Option(help="What requests carry: the texts of the source, or none.")] = "source",
    texts: Annotated[Language, typer.Option(help="Language of the catalogue's texts, and of the prompt.")] = "en",
    write: Annotated[int, typer.Option(min=2, help="Products that the model writes about.")] = 60,
    seen: Annotated[int, typer.Option(help="Products that the champion knows.")] = 300,
    champion: Annotated[Path | None, typer.Option(help="Its checkpoint; else it is trained, for minutes.")] = None,
    train: Annotated[bool, typer.Option(help="Also train on the texts, three times a minute or two.")] = False,
    seeds: Annotated[int, typer.Option(min=1, help="Trainings of each of the three.")] = 1,
    epochs: Annotated[int | None, typer.Option(min=1, help="Another number of epochs than the preset's.")] = None,
    max_tokens: Annotated[int, typer.Option(min=16, help="Tokens of one text at most.")] = 100,
    batch: Annotated[int, typer.Option(min=1, help="Texts that are generated at once.")] = 16,
    shown: Annotated[int, typer.Option(min=0, help="Written texts in the JSON.")] = 8,
    to: Annotated[Path, typer.Option(help="Where everything is kept.")] = Path("build/real-writer"),
    as_json: Annotated[bool, typer.Option("--json", help="Only the JSON object.")] = False,
) -> None:
    """Write, judge, gate; print one JSON object last."""
    if reason := why_not(model, gguf):
        print(json.dumps({"skipped": reason} | facts()))
        return
    started, place = time.monotonic(), Layout(to / f"{'grocery' if source else texts}-{notes}-{seen}-{write}")
    config = presets.demo().train.changed(epochs=epochs)
    if source:
        ingest(GrocerySource(source), staging=place.staging, rejected=place.rejected("grocery"))
        every = [str(key) for key in pairs.read_frame(place.staging.entities)["entity_id"]]
        data, new, known = place.staging, set(every[:write]), set(every[write:])
    else:
        products = UnseenProducts(place, seen=seen, unseen=write, language=texts)
        data, new, known = products.data, set(products.products), set(products.known["entity_id"])
    examples = example_file(place.root / f"examples-{notes}.yaml", data, known, notes)
    settings = {"model": str(model), "gguf_file": gguf, "few_shot": str(examples), "max_tokens": max_tokens}
    writer = open_writer(
        writer_config({"writer": "transformers", "batch": batch, **settings}, origin="the command line"),
        ledger=place.ledger,
    )
    found = written(writer, RequestsOfSome(data, new, notes), place.ledger)
    answer: dict[str, Any] = {}
    if not len(found.texts):
        answer = {"nothing": "every text was rejected by the writer"}
    elif source:
        answer = _on_words(data, found.texts, place)
    else:
        tower = tower_at_hand(BackboneConfig(), place.root / "tower")
        catalogue = Catalogue(_first(place, seen, texts), products, place, texts, notes, tower)
        judge = checkpoint.load(CheckpointLayout(champion)) if champion else champion_of(place, config, catalogue.seen)
        answer, aside = catalogue.figures(found.texts, judge)
        if notes == "source":
            answer["corrected"] = catalogue.corrected(found.texts, judge)
        if train:
            answer |= catalogue.trainings(found.texts, aside, config, seeds)
    answer |= found.figures | {"notes": notes, "language": texts, "examples": found.texts["text"].head(shown).tolist()}
    if not as_json:
        print(pd.Series({name: value for name, value in answer.items() if not isinstance(value, dict)}).to_string())
    answer |= {"written": write, "seen": None if source else seen, "writer": writer.generator}
    answer |= {"seconds": round(time.monotonic() - started, 1), "peak_gib": peak_gib()}
    print(json.dumps(answer | facts(), ensure_ascii=False))


def _first(place: Layout, seen: int, texts: Language) -> DataLayout:
    """The first products, as the champion's data of the day before."""
    return faultless_catalog(Layout(place.root / "first"), products=seen, texts=texts)


def _on_words(data: DataLayout, texts: pd.DataFrame, place: Layout) -> dict[str, Any]:
    """The gate's rules on words, on texts about photographs."""
    replace_texts(data, ({str(name): value for name, value in row.items()} for row in texts.to_dict("records")))
    sources = pairs.read_frame(data.source_provided, columns=["entity_id", "text"])
    return by_rule(gated(data, place, GateScorers()).broken, texts) | {"copied_share": copied_share(texts, sources)}


if __name__ == "__main__":
    typer.run(main)
