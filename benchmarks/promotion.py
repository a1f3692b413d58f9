"""Whether noise passes the promotion, and a real gain does: nights simulated from the answers of several trainings.

    python benchmarks/promotion.py --json

The demo's catalogue is trained with ``--seeds`` seeds, everything else the same. A simulated night draws two of these
models and a set of queries: whole entities with their pictures, with replacement, the same for both models. The real
decision with the default policy follows, with the deviation between seeds that ``entityclip seeds`` would report.

``aa_promoted``: share of the nights with 1,500 queries in which a model that differs only in its seed is promoted;
``aa_promoted_15000`` with 15,000. ``power_3_points`` and ``power_3_points_1500``: share of the nights in which a model
is promoted after 3 points of its misses were turned into hits. ``flattery_30_nights``: points by which the champion's
figure is above the mean of all trainings after 30 nights without progress, with figures drawn from the measured
deviations; ``flattery_on_new_pictures`` is the part of it that pictures that decided nothing would not show. ``before``
has the same for a policy that any gain satisfies. If the command is killed, run it again to continue.
"""

from __future__ import annotations

import json
import math
import sys
import time
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
import pandas as pd
import typer
from lib.faultless_catalog import faultless_catalog
from lib.machine import facts, peak_gib
from scipy import stats

from entityclip.evaluation.paired import paired_gain, recalled
from entityclip.evaluation.promotion import Champion, decide
from entityclip.evaluation.slices import slices
from entityclip.experiments.seeds import SeedDeviation, seed_deviation, train_seeds
from entityclip.paths import AblationLayout, Layout
from entityclip.schemas import EvalReport, Metric, PromotionPolicy
from entityclip.training import presets

GAIN = 3.0
"""Points of a real gain."""
CHAINS = 20_000


class Night(NamedTuple):
    """The answers of two models to one set of queries."""

    challenger: pd.DataFrame
    champion: pd.DataFrame


def drawn_night(answers: list[pd.DataFrame], *, queries: int, gain: float, rng: np.random.Generator) -> Night:
    """Two models of different seeds on a set of ``queries``; the challenger is better by ``gain`` points."""
    first = answers[0]
    rows_of = list(first.groupby("entity_id").indices.values())
    chosen: list[np.ndarray] = []
    parts, count = [], 0
    while count < queries:
        rows = rows_of[rng.integers(len(rows_of))]
        parts.append(np.full(len(rows), len(chosen)))
        chosen.append(np.asarray(rows))
        count += len(rows)
    rows, entities = np.concatenate(chosen), np.concatenate(parts)
    names = {"pair_id": np.arange(len(rows)), "entity_id": entities}
    new, old = (answers[i].iloc[rows].assign(**names) for i in rng.choice(len(answers), 2, replace=False))
    missed = new["rank"] > 1
    turned = missed & (rng.random(len(new)) < gain / (100 * missed.mean()))
    return Night(new.assign(rank=new["rank"].where(~turned, 1)), old)


def promoted(night: Night, *, policy: PromotionPolicy) -> bool:
    """What the decision says; mostly the gain alone refuses, and the slices need not be compared."""
    gain = paired_gain(night.challenger, night.champion, policy=policy)
    if policy.require_significant and gain is not None and gain.low <= 0:
        return False
    champion = Champion("v1.0.0", report("champion", night.champion, policy), night.champion)
    made = decide(
        report("challenger", night.challenger, policy),
        [champion],
        policy=policy,
        data_hash="",
        suite_hash="",
        queries=night.challenger,
    )
    return made.promoted


def report(name: str, queries: pd.DataFrame, policy: PromotionPolicy) -> EvalReport:
    """The recalls of one model that the decision reads."""
    figures = [
        Metric(
            index=policy.index,
            direction=policy.direction,
            slice=part,
            name=policy.metric,
            value=(value := float(recalled(rows, policy=policy)["hit"].mean())),
            low=value,
            high=value,
            queries=len(rows),
        )
        for part, rows in slices(queries)
    ]
    return EvalReport(
        model_fingerprint=name,
        evaluation_hash="",
        split="test",
        pictures=len(queries),
        entities=queries["entity_id"].nunique(),
        metrics=tuple(figures),
        seconds=0,
    )


def share_promoted(
    answers: list[pd.DataFrame], *, queries: int, gain: float, nights: int, policy: PromotionPolicy
) -> float:
    """Share of the simulated nights in which the challenger is promoted."""
    rng = np.random.default_rng(queries)
    made = [promoted(drawn_night(answers, queries=queries, gain=gain, rng=rng), policy=policy) for _ in range(nights)]
    return round(float(np.mean(made)), 4)


def optimism(found: SeedDeviation, *, require_significant: bool, nights: int = 30) -> tuple[float, float]:
    """Points by which the champion's figure is too high after nights without progress: against the mean of all
    trainings, and against pictures that decided nothing.
    """
    rng = np.random.default_rng(0)
    own, luck = (rng.normal(0, d, (nights + 1, CHAINS)) for d in (found.deviation, found.sampling))
    error = math.sqrt(2) * math.hypot(found.bound, found.sampling) if require_significant else 0.0
    champion, champions_luck, looks = own[0], luck[0], np.zeros(CHAINS, np.int64)
    for night in range(1, nights + 1):
        looks += 1
        gain = own[night] + luck[night] - champion - champions_luck
        wins = gain > error * stats.norm.ppf(1 - 0.025 / looks)
        champion = np.where(wins, own[night], champion)
        champions_luck = np.where(wins, luck[night], champions_luck)
        looks[wins] = 0
    return round(float(np.mean(champion + champions_luck)), 2), round(float(np.mean(champions_luck)), 2)


def main(
    to: Annotated[Path, typer.Option(help="Where everything is kept.")] = Path("build/promotion"),
    seeds: Annotated[int, typer.Option(min=2, help="Trainings.")] = 10,
    epochs: Annotated[int | None, typer.Option(min=1, help="Another number of epochs than the preset's.")] = None,
    nights: Annotated[int, typer.Option(min=1, help="Simulated nights for each figure.")] = 400,
    as_json: Annotated[bool, typer.Option("--json", help="Only the JSON object.")] = False,
) -> None:
    """Train with several seeds, then simulate nights; print one JSON object last."""
    started, data = time.monotonic(), faultless_catalog(Layout(to), products=300)
    config = presets.demo().train.changed(epochs=epochs)
    policy, answers = PromotionPolicy(), []
    for trained in train_seeds(
        config, data=data, data_hash="promotion", to=AblationLayout(to / "trained"), seeds=seeds, progress=False
    ):
        answers.append(recalled(trained.queries, policy=policy).sort_values("pair_id", ignore_index=True))
        print(f"seed {len(answers) - 1}: {policy.metric} {answers[-1]['hit'].mean():.1f}", file=sys.stderr)
    found = seed_deviation(answers, policy=policy)
    by_default = policy.model_copy(update={"seed_deviation": found.bound})
    any_gain = policy.model_copy(update={"require_significant": False})
    answer: dict[str, Any] = simulated(answers, found, policy=by_default, nights=nights)
    answer["before"] = simulated(answers, found, policy=any_gain, nights=nights)
    answer |= {"seed_deviation": found.model_dump(), "seeds": seeds, "epochs": config.epochs, "nights": nights}
    answer |= {"seconds": round(time.monotonic() - started, 1), "peak_gib": peak_gib()}
    if not as_json:
        print(pd.DataFrame({"now": answer, "before": answer["before"]}).loc[list(answer["before"])].to_string())
    print(json.dumps(answer | facts()))


def simulated(
    answers: list[pd.DataFrame], found: SeedDeviation, *, policy: PromotionPolicy, nights: int
) -> dict[str, float]:
    """The figures of one policy."""
    shares = {
        "aa_promoted": (1500, 0.0),
        "aa_promoted_15000": (15_000, 0.0),
        "power_3_points": (15_000, GAIN),
        "power_3_points_1500": (1500, GAIN),
    }
    figures = {
        name: share_promoted(answers, queries=queries, gain=gain, nights=nights, policy=policy)
        for name, (queries, gain) in shares.items()
    }
    total, on_new = optimism(found, require_significant=policy.require_significant)
    return figures | {"flattery_30_nights": total, "flattery_on_new_pictures": on_new}


if __name__ == "__main__":
    typer.run(main)
