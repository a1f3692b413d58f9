"""The texts that pass each variant of the gate, and a training run on each of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import NamedTuple

import pandas as pd

from entityclip.data import pairs
from entityclip.data.variants import with_explanations
from entityclip.errors import DataError
from entityclip.experiments.train_and_evaluate import Measurement, train_and_evaluate
from entityclip.paths import AblationLayout, DataLayout
from entityclip.schemas import Split
from entityclip.training import TrainConfig, run_key

OFF, ON = "gate off", "gate on"


class GateVariant(NamedTuple):
    """One setting of the gate."""

    name: str
    rule: str
    """The rule that is switched off; empty for the gate as a whole."""
    texts: pd.DataFrame
    """Rows of the table of explanations that are trained on."""


class TrainedVariant(NamedTuple):
    """One training run of the report."""

    variant: GateVariant
    seed: int
    result: Measurement


class GateStudy(NamedTuple):
    """Data, settings and folder of a gate report."""

    data: DataLayout
    """Before the gate: every text, with or without faults."""
    data_hash: str
    config: TrainConfig
    seeds: int
    to: AblationLayout


def variants(texts: pd.DataFrame, broken: pd.DataFrame) -> list[GateVariant]:
    """Variants with the gate off, on, and without each rule in turn; the rule with the most rows comes first.

    A text that breaks two rules stays out when one of them is off. A rule that sets no text aside alone has no variant,
    because the same texts pass without it.

    Args:
        texts: Every explanation, before the gate.
        broken: Result of ``quarantine.broken_texts``.

    Raises:
        DataError: No text was quarantined, or one that is not among ``texts``.
    """
    strange = sorted(set(broken["id"]) - set(texts["explanation_id"]))
    if strange:
        raise DataError(
            f"text {strange[0]} was quarantined but is not in the data; name the quarantine file of the staged batch"
        )
    if broken.empty:
        raise DataError("the gate set no text aside, so there is nothing to compare")
    aside = texts["explanation_id"].isin(broken["id"])
    found = [GateVariant(OFF, "", texts), GateVariant(ON, "", texts[~aside])]
    for rule, alone in alone_by_rule(broken).items():
        if alone:
            found.append(GateVariant(f"without {rule}", rule, texts[~aside | texts["explanation_id"].isin(alone)]))
    return found


def alone_by_rule(broken: pd.DataFrame) -> dict[str, set[str]]:
    """Rule -> the texts that no other rule quarantines; the rule that most texts break comes first."""
    rules_of = broken.groupby("id")["rule"].nunique()
    single = set(rules_of.index[rules_of == 1])
    return {
        str(rule): set(broken.loc[broken["rule"] == rule, "id"]) & single
        for rule in broken["rule"].value_counts(sort=True).index
    }


def retrain(
    study: GateStudy,
    some: Iterable[GateVariant],
    *,
    split: Split = "test",
    report: Callable[[TrainedVariant], None] = lambda _: None,
    progress: bool = True,
) -> Iterator[TrainedVariant]:
    """Train on each variant with each seed; results of an earlier call are reused.

    Seed by seed, so that an interrupted report has complete tables of fewer seeds.
    """
    listed = list(some)
    for seed in range(study.seeds):
        for variant in listed:
            trained = TrainedVariant(variant, seed, _measured(study, variant, seed, split=split, progress=progress))
            report(trained)
            yield trained


def _measured(study: GateStudy, variant: GateVariant, seed: int, *, split: Split, progress: bool) -> Measurement:
    config = study.config.model_copy(update={"seed": seed})
    kept = pairs.digest(*(str(key) for key in variant.texts["explanation_id"]), *map(str, variant.texts["entity_id"]))
    key = run_key(config, data_hash=f"{study.data_hash} {kept} {split}")
    return train_and_evaluate(
        config,
        make_data=partial(_with_texts, study, variant.texts, study.to.data(kept)),
        key=key,
        run=study.to.run(f"{kept}-{seed}", key=key),
        decoded=study.to.decoded,
        split=split,
        progress=progress,
    )


def _with_texts(study: GateStudy, texts: pd.DataFrame, into: DataLayout) -> DataLayout:
    with_explanations(study.data, texts, into=into)
    return into
