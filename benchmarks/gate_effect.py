"""Recall that the gate recovers: the drawn catalogue clean, with the texts of half of its products swapped, and gated.

    python benchmarks/gate_effect.py --json

The case is a nightly batch. The champion was trained on clean data of the day before; tonight every text of half of
the products is about another product, of the same kind or of another. Without the gate, the model is trained on these
texts. With the gate, the batch goes through the committed rules with that champion (its text-quality model was fitted
on the data of the day before, with faults injected from another seed), and texts that break a rule are requested
again. The text of the source stands for a writer that writes well. Texts that still break a rule are left out.

Without a champion, in a first run, no model looks at the pictures: ``first_run`` is the share of swapped texts that the
rules on words find. Results are R@1 in percent of the explanation index, picture to entity. ``change_without_gate`` and
``change_with_gate`` are the changes against the clean texts in points, with intervals by a bootstrap over entities, on
the mean of the seeds. If the command is killed, run it again to continue.
"""

from __future__ import annotations

import json
import sys
import time
from functools import partial
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
import pandas as pd
import typer
from lib.faultless_catalog import faultless_catalog
from lib.machine import facts, peak_gib

from entityclip.data import pairs
from entityclip.data.variants import with_explanations
from entityclip.experiments.train_and_evaluate import train_and_evaluate
from entityclip.explanations import SourceWriter
from entityclip.explanations.retry_rejected import write_again
from entityclip.model import checkpoint
from entityclip.paths import AblationLayout, DataLayout, Layout, RunLayout
from entityclip.quality.fault_injection import SWAPS, inject_faults
from entityclip.quality.fit_text_quality import fit_text_quality
from entityclip.quality.quarantine_file import broken_texts
from entityclip.retrieval.metrics import subset_means
from entityclip.schemas import SLICES, QualityReport
from entityclip.training import TrainConfig, presets, run_key
from expectations.check import GateScorers, check, copy_context

SLICE_KEYS = dict(zip(SLICES, ("frequent", "two", "one", "none"), strict=True))
SHARE, SEED, LEARNED_SEED = 0.5, 0, 100


class KnowingWriter(SourceWriter):
    """Returns the text of the source, in place of a writer that gets the reason and then writes well."""

    generator = "knowing"


class Gated(NamedTuple):
    """One batch with its result at the gate."""

    report: QualityReport
    broken: pd.DataFrame
    """``id, rule, value``."""


# ---------------------------------------------------------------- the batch
def with_texts(clean: DataLayout, texts: pd.DataFrame, into: DataLayout) -> DataLayout:
    """``clean`` with other texts, as a batch for the gate."""
    with_explanations(clean, texts, into=into)
    into.source_provided.symlink_to(clean.source_provided.resolve(), target_is_directory=True)
    return into


def gated(batch: DataLayout, layout: Layout, scorers: GateScorers) -> Gated:
    """Apply the committed rules to a batch."""
    copy_context(layout.expectations)
    file = layout.quarantine("batch")
    report = check(
        batch,
        accepted=layout.accepted,
        quarantine=file,
        context_root=layout.expectations,
        scorers=scorers,
    )
    nothing = pd.DataFrame(columns=["id", "rule", "value"])
    return Gated(report, broken_texts(file) if file.exists() else nothing)


def mended(batch: DataLayout, layout: Layout, scorers: GateScorers) -> tuple[pd.DataFrame, Gated]:
    """The training texts with the gate on, and the gate's first result for the batch."""
    first = gated(batch, layout, scorers)
    write_again(batch, first.broken, writer=KnowingWriter(), ledger=layout.ledger)
    second = gated(batch, layout, scorers)
    texts = pairs.read_frame(batch.explanations)
    return texts[~texts["explanation_id"].isin(second.broken["id"])], first


def found_share(planted: pd.DataFrame, broken: pd.DataFrame) -> dict[str, float]:
    """Share of the swapped and of the correct texts that broke a rule."""
    swapped, caught = planted["injected_fault"].notna(), planted["explanation_id"].isin(broken["id"])
    return {"caught": round(float(caught[swapped].mean()), 4), "false_alarms": round(float(caught[~swapped].mean()), 4)}


# ---------------------------------------------------------------- trainings
class GateBench(NamedTuple):
    """Inputs that all trainings share."""

    clean: DataLayout
    config: TrainConfig
    to: AblationLayout


def trained(bench: GateBench, name: str, texts: pd.DataFrame, seed: int) -> tuple[RunLayout, pd.Series]:
    """The run, and (slice, entity id, pair id) -> 100 if the explanation index ranks the entity first, else 0."""
    config = bench.config.model_copy(update={"seed": seed})
    content = pairs.digest(*(f"{row.entity_id} {row.text}" for row in texts.itertuples()))
    key = run_key(config, data_hash=content)
    run = bench.to.run(f"{name}-{seed}", key=key)
    make = partial(with_texts, bench.clean, texts, bench.to.data(f"{name}-{seed}"))
    started = time.monotonic()
    result = train_and_evaluate(
        config, make_data=make, key=key, run=run, decoded=bench.to.decoded, progress=sys.stderr.isatty()
    )
    queries = result.queries
    queries = queries[(queries["index"] == "explanation") & (queries["direction"] == "image_to_text")]
    hits = 100.0 * (queries.set_index(["slice", "entity_id", "pair_id"])["rank"] == 1)
    print(f"{name}, seed {seed}: R@1 {hits.mean():.1f}, {time.monotonic() - started:.0f} s", file=sys.stderr)
    return run, hits


def by_slice(hits: list[pd.Series]) -> dict[str, float]:
    """Mean over pictures and seeds, by slice under the names of the catalogue's long tail, and over all."""
    pooled = pd.concat(hits)
    means = pooled.groupby(level="slice").mean()
    return {key: round(float(means[name]), 2) for name, key in SLICE_KEYS.items() if name in means} | {
        "all": round(float(pooled.mean()), 2)
    }


def given_back(r1: dict[str, dict[str, float]]) -> dict[str, float | None]:
    """Share of the loss that the gate recovers, by slice; None without a loss."""
    off, on, clean = r1["swapped_off"], r1["swapped_on"], r1["clean"]
    return {k: round((on[k] - off[k]) / (clean[k] - off[k]), 3) if clean[k] > off[k] else None for k in clean}


def changes(before: list[pd.Series], after: list[pd.Series]) -> dict[str, list[float]]:
    """Points from ``before`` to ``after`` with the 95 % interval, by slice and over all; paired, entities resampled."""
    change = pd.concat(after, axis=1).mean(axis=1) - pd.concat(before, axis=1).mean(axis=1)
    slices, entities = change.index.get_level_values("slice"), change.index.get_level_values("entity_id").to_numpy()
    wanted = {key: slices == name for name, key in SLICE_KEYS.items() if name in slices}
    wanted["all"] = np.ones(len(change), dtype=bool)
    draws = subset_means(change.to_numpy(), np.stack(list(wanted.values()), axis=1), entities, seed=SEED)
    ends = np.nanpercentile(draws, (2.5, 97.5), axis=0).T
    return {
        key: [round(float(value), 2) for value in (change[rows].mean(), *ends[place])]
        for place, (key, rows) in enumerate(wanted.items())
    }


def main(
    to: Annotated[Path, typer.Option(help="Where everything is kept.")] = Path("build/gate-effect"),
    seeds: Annotated[int, typer.Option(min=1, help="Trainings of each of the three.")] = 2,
    epochs: Annotated[int | None, typer.Option(min=1, help="Another number of epochs than the preset's.")] = None,
    products: Annotated[int, typer.Option(help="Products to draw.")] = 300,
    as_json: Annotated[bool, typer.Option("--json", help="Only the JSON object.")] = False,
) -> None:
    """Train on clean texts, on half swapped ones and on accepted ones; print one JSON object last."""
    started, layout = time.monotonic(), Layout(to)
    config = presets.demo().train.changed(epochs=epochs)
    clean = faultless_catalog(layout, products=products)
    bench = GateBench(clean, config, AblationLayout(to / "trained"))
    texts, entities = pairs.read_frame(clean.explanations), pairs.read_frame(clean.entities)
    swapped = inject_faults(texts, entities, share=SHARE, kinds=SWAPS, by="entity", seed=SEED)

    runs = [trained(bench, "clean", texts, seed) for seed in range(seeds)]
    champion = checkpoint.load(runs[0][0].checkpoint)
    scorers = GateScorers(champion, fit_text_quality(champion, clean, seed=LEARNED_SEED))
    rows = swapped.drop(columns="injected_fault")
    blind = gated(with_texts(clean, rows, bench.to.data("first-run")), layout, GateScorers())
    passed, first = mended(with_texts(clean, rows, bench.to.data("batch")), layout, scorers)

    hits = {"clean": [hit for _, hit in runs]}
    for name, kept in {"swapped_off": rows, "swapped_on": passed}.items():
        hits[name] = [trained(bench, name, kept, seed)[1] for seed in range(seeds)]
    r1 = {name: by_slice(found) for name, found in hits.items()}
    answer: dict[str, Any] = {"r1": r1, "given_back": given_back(r1)}
    answer["change_without_gate"] = changes(hits["clean"], hits["swapped_off"])
    answer["change_with_gate"] = changes(hits["clean"], hits["swapped_on"])
    answer |= found_share(swapped, first.broken) | {"refused": first.report.refused, "texts_on": len(passed)}
    answer |= {"first_run": found_share(swapped, blind.broken) | {"refused": blind.report.refused}}
    if not as_json:
        print(pd.DataFrame(r1 | {"given_back": answer["given_back"]}).to_string())
    answer |= {"seeds": seeds, "epochs": config.epochs, "seconds": round(time.monotonic() - started, 1)}
    print(json.dumps(answer | {"peak_gib": peak_gib()} | facts()))


if __name__ == "__main__":
    typer.run(main)
