"""Real nights: how often the champion changes without progress, and whether a better model becomes the champion.

    python benchmarks/nights.py --json

A night is the main job (``entityclip run``) in a process of its own. The first one makes the champion. ``--nights``
nights follow, each on the same drawn catalogue with the same settings and another seed, so that every night trains
another model that is no better. A last night trains ``--better-epochs`` instead of ``--epochs``: the positive control.
A pretrained image tower is frozen and its features are kept, so that a night trains the heads and a text tower. The
promotion policy is the default one; with ``--measure-seeds`` the deviation between seeds is measured after the first
night, as ``entityclip seeds`` does.

``champion_changes``: nights without progress after which another model was the champion. ``better_won``: whether the
last night's model became the champion, with its gain and interval. ``seed_deviation``: the deviation between the models
of the nights without progress. If the command is killed, run it again to continue.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
import typer
from lib.machine import facts
from pydantic import TypeAdapter

from entityclip.experiments.seeds import SeedDeviation, seed_deviation
from entityclip.paths import Layout, RunLayout
from entityclip.schemas import EvalReport, PromotionDecision, PromotionPolicy, Record
from entityclip.settings import read_config
from entityclip.storage import atomic_write
from entityclip.training import TrainConfig, presets


class NightRecord(Record):
    """What became of one night's model."""

    seed: int
    epochs: int
    run: str
    """Name of the training."""
    r1: float
    promoted: bool
    champion: str | None
    """The champion that it was compared with."""
    gain: tuple[float, float, float] | None
    """Points over the champion, and the ends of the interval."""
    reason: str
    seconds: float


NIGHTS = TypeAdapter(list[NightRecord])


class Calendar:
    """The nights of one workspace, kept in a file so that a killed benchmark continues."""

    def __init__(self, root: Path, *, products: int) -> None:
        self.layout, self._root, self._products = Layout(root / "workspace"), root, products
        self._file = root / "nights.json"
        self.done = NIGHTS.validate_json(self._file.read_bytes()) if self._file.is_file() else []

    def night(self, number: int, config: TrainConfig) -> NightRecord:
        """The night of this number; it is run if it was not."""
        if number < len(self.done):
            return self.done[number]
        settings = self._root / "settings" / f"{number}.json"
        atomic_write(settings, config.model_dump_json())
        what = ["--preset", "demo", "--products", str(self._products), "--config", str(settings)]
        started = time.monotonic()
        answer = self.command("run", "--workspace", str(self.layout.root), *what)
        run = RunLayout(Path(answer["report"]).parent)
        decision, evaluation = PromotionDecision.read(run.decision), EvalReport.read(run.evaluation)
        assert decision is not None, run.decision
        assert evaluation is not None, run.evaluation
        gain, policy = decision.gain, decision.policy
        found = NightRecord(
            seed=config.seed,
            epochs=config.epochs,
            run=run.root.name,
            r1=round(evaluation.value(policy.metric, index=policy.index) or 0.0, 2),
            promoted=decision.promoted,
            champion=decision.champion,
            gain=None if gain is None else (round(gain.points, 2), round(gain.low, 2), round(gain.high, 2)),
            reason=decision.reasons[0],
            seconds=round(time.monotonic() - started, 1),
        )
        self.done.append(found)
        atomic_write(self._file, NIGHTS.dump_json(self.done, indent=1).decode())
        return found

    def command(self, *arguments: str) -> dict[str, Any]:
        """The last line of a command of ``entityclip``, in a process and a home of its own."""
        home = str(self._root / "home")
        here = os.environ | {"HOME": home, "PREFECT_HOME": home, "PYTHONPATH": str(Path(__file__).parents[1])}
        done = subprocess.run(
            [sys.executable, "-m", "entityclip", *arguments, "--json"],
            env=here,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise RuntimeError(f"entityclip {' '.join(arguments)} failed:\n{done.stderr[-3000:]}")
        answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return answer

    def deviation(self, nights: list[NightRecord], policy: PromotionPolicy) -> SeedDeviation | None:
        """The deviation between the models of these nights; None for fewer than two."""
        answers = [pd.read_parquet(self.layout.run(night.run).queries) for night in nights]
        return seed_deviation(answers, policy=policy) if len(answers) > 1 else None


def main(
    to: Annotated[Path, typer.Option(help="Where everything is kept.")] = Path("build/nights"),
    nights: Annotated[int, typer.Option(min=1, help="Nights without progress, after the first.")] = 10,
    products: Annotated[int, typer.Option(min=20, help="Of the drawn catalogue.")] = 300,
    epochs: Annotated[int, typer.Option(min=1, help="Of the nights without progress.")] = 12,
    better_epochs: Annotated[int, typer.Option(min=1, help="Of the last night.")] = 60,
    size: Annotated[int, typer.Option(min=32, help="Side of the pictures, pixels.")] = 96,
    measure_seeds: Annotated[int, typer.Option(help="Seeds that measure their deviation; 0: the default.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Only the JSON object.")] = False,
) -> None:
    """Run the nights; print one JSON object last."""
    to = to.resolve()
    calendar, base = Calendar(to, products=products), presets.frozen(presets.demo().train, size=size)

    def night(number: int, count: int) -> NightRecord:
        found = calendar.night(number, base.changed(seed=number, epochs=count))
        print(f"night {number}: R@1 {found.r1}, {found.reason}, {found.seconds} s", file=sys.stderr, flush=True)
        return found

    first = night(0, epochs)
    if measure_seeds and len(calendar.done) == 1:
        calendar.command("seeds", "--workspace", str(calendar.layout.root), "--seeds", str(measure_seeds))
    same = [night(number, epochs) for number in range(1, nights + 1)]
    better = night(nights + 1, better_epochs)
    policy = read_config(calendar.layout.config).promotion
    deviation = calendar.deviation([first, *same], policy)
    answer: dict[str, Any] = {
        "nights": nights,
        "champion_changes": sum(found.promoted for found in same),
        "better_won": better.promoted,
        "better_gain": better.gain,
        "seconds_per_night": statistics.median(found.seconds for found in same),
        "policy_seed_deviation": policy.seed_deviation,
        "seed_deviation": None if deviation is None else deviation.model_dump(),
        "settings": {"products": products, "epochs": epochs, "better_epochs": better_epochs, "size": size},
        "every_night": [found.model_dump() for found in (first, *same, better)],
    }
    if not as_json:
        print(pd.DataFrame(answer["every_night"]).drop(columns=["run", "reason"]).to_string())
    print(json.dumps(answer | facts()))


if __name__ == "__main__":
    typer.run(main)
