"""Value of each rule of the gate in recall: the drawn catalogue with every kind of fault injected into its texts.

    python benchmarks/rules_worth.py --json        # resumable; --to names the folder of results

A share of the texts gets faults, as many of each kind (``quality/fault_injection.py``). The committed rules
quarantine texts, with a champion that was trained on the clean texts, or without one as in a first run. Then the demo
preset trains without the gate, with it, and without one rule after the other, as ``entityclip gate-report`` does in a
workspace. ``worth`` is the loss of R@1 of the explanation index without a rule, in points, with a bootstrap interval
over entities. A rule that quarantines no text alone is worth 0 beside the others and needs no training. ``faults``
lists the texts that break the rule, by kind of fault. If the command is killed, run it again to continue.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
import typer
from gate_effect import LEARNED_SEED, GateBench, found_share, gated, trained, with_texts
from lib.faultless_catalog import faultless_catalog
from lib.machine import facts, peak_gib

from entityclip.data import pairs
from entityclip.experiments.gate_report import GateStudy, TrainedVariant, recall_table, retrain, variants, worth_table
from entityclip.experiments.gate_report.page import markdown
from entityclip.model import checkpoint
from entityclip.paths import CheckpointLayout, GateLayout, Layout
from entityclip.quality.fault_injection import inject_faults
from entityclip.quality.fit_text_quality import fit_text_quality
from entityclip.training import presets
from expectations.check import GateScorers


def show(one: TrainedVariant) -> None:
    """One line for each training."""
    recall = one.result.measured.evaluation.value("R@1", index="explanation")
    print(f"{one.variant.name}, seed {one.seed}: R@1 {recall:.1f}", file=sys.stderr, flush=True)


def kinds_by_rule(planted: pd.DataFrame, broken: pd.DataFrame) -> dict[str, dict[str, int]]:
    """Rule -> kind of fault, or ``sound`` -> number of texts of that kind that break it."""
    kind = planted.set_index("explanation_id")["injected_fault"].fillna("sound")
    with_kind = broken.assign(kind=kind.reindex(broken["id"]).to_numpy())
    return {
        str(rule): {str(name): int(count) for name, count in some["kind"].value_counts().items()}
        for rule, some in with_kind.groupby("rule")
    }


def judged_by(model: Path | None, bench: GateBench, texts: pd.DataFrame) -> GateScorers:
    """The named checkpoint, or a model trained on the clean texts, with its text-quality model."""
    layout = CheckpointLayout(model) if model else trained(bench, "clean", texts, 0)[0].checkpoint
    judge = checkpoint.load(layout)
    return GateScorers(judge, fit_text_quality(judge, bench.clean, seed=LEARNED_SEED))


def main(
    to: Annotated[Path, typer.Option(help="Where everything is kept.")] = Path("build/rules-worth"),
    champion: Annotated[bool, typer.Option(help="Whether a champion judges beside the rules on words.")] = True,
    model: Annotated[Path | None, typer.Option(help="A checkpoint as the champion; none is trained then.")] = None,
    share: Annotated[float, typer.Option(min=0, max=1, help="Of the texts that go wrong.")] = 0.5,
    seeds: Annotated[int, typer.Option(min=1, help="Trainings of each variant.")] = 1,
    epochs: Annotated[int | None, typer.Option(min=1, help="Another number of epochs than the preset's.")] = None,
    products: Annotated[int, typer.Option(help="Products to draw.")] = 300,
    rule: Annotated[list[str] | None, typer.Option(help="Leave out this one alone; may be given again.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Only the JSON object.")] = False,
) -> None:
    """Inject, validate, train; print both tables, and one JSON object last."""
    started, layout, kept = time.monotonic(), Layout(to), GateLayout(to / "report")
    config = presets.demo().train.changed(epochs=epochs)
    clean = faultless_catalog(layout, products=products)
    texts, entities = pairs.read_frame(clean.explanations), pairs.read_frame(clean.entities)
    planted = inject_faults(texts, entities, share=share, seed=0)
    batch = with_texts(clean, planted.drop(columns="injected_fault"), kept.runs.data("batch"))
    found = gated(
        batch, layout, judged_by(model, GateBench(clean, config, kept.runs), texts) if champion else GateScorers()
    )
    study = GateStudy(batch, pairs.digest(*planted["text"], *planted["entity_id"]), config, seeds, kept.runs)
    planned = variants(pairs.read_frame(batch.explanations), found.broken)
    wanted = [one for one in planned if not rule or one.rule in ("", *rule)]
    done = list(retrain(study, wanted, report=show, progress=sys.stderr.isatty()))
    recall, worth = recall_table(done), worth_table(done, found.broken)
    if not as_json:
        print(f"{markdown(recall, 'variant')}\n{markdown(worth, 'rule')}")
    answer: dict[str, Any] = {"recall": recall.to_dict("records"), "worth": worth.to_dict("records")}
    answer |= {"faults": kinds_by_rule(planted, found.broken)} | found_share(planted, found.broken)
    answer |= {"share": share, "seeds": seeds, "epochs": config.epochs, "products": products, "champion": champion}
    print(json.dumps(answer | {"seconds": round(time.monotonic() - started), "peak_gib": peak_gib()} | facts()))


if __name__ == "__main__":
    typer.run(main)
