"""What a reviewer's time is worth: recall per hundred decisions by order, and how fast the pages follow the keys.

    python benchmarks/review.py --json

Order: the gate has quarantined all texts of two of three products of the drawn catalogue. A third of these texts are
faulty, and the reviewer rejects them; the others return. Recall (R@1 in percent, mixed index, picture to entity) is
measured before and after a hundred decisions, in the order of the review pages and in random order (three draws). The
model was trained on the texts that were left and is not trained again: returned texts enter its index, and its mixture
is calibrated again on validation pictures.
``recall_gain_per_100_ordered`` and ``recall_gain_per_100_random`` are the points gained.

Pages: a scripted Chromium decides by keys while 10,000 texts wait. ``seconds_per_decision`` is the mean time from a key
until the next item has been painted, ``p95_ms`` its 95th percentile, with the network of this machine and the
rendering; pictures may come later.
``cpu_ms_per_decision`` is the time of the processor for the server, which other work on the machine hardly lengthens.
"""

from __future__ import annotations

import json
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd
import typer
import uvicorn
from lib.faultless_catalog import faultless_catalog
from lib.machine import facts, peak_gib

from bentos.middleware import keys
from entityclip.data import pairs
from entityclip.data.variants import with_explanations
from entityclip.evaluation.calibrate import calibrate
from entityclip.evaluation.evaluate import evaluate
from entityclip.experiments.train_and_evaluate import train_and_evaluate
from entityclip.model import checkpoint
from entityclip.model.checkpoint import LoadedModel
from entityclip.paths import AblationLayout, DataLayout, Layout
from entityclip.quality.review.order import by_expected_gain
from entityclip.quality.review.pending import PendingText
from entityclip.schemas import QualityReport
from entityclip.training import presets, run_key
from expectations.quarantine import COLUMNS, write_quarantine_file
from flows.web.server import application

DECISIONS, DRAWS = 100, 3
QUARANTINED, FAULTY = 2 / 3, 1 / 3
PRESSED = 100
PAINTED = """before => {
  const item = document.querySelector("article.item input[name=item]");
  const frame = () => new Promise(requestAnimationFrame);
  return item && item.value !== before && frame().then(frame).then(() => true);
}"""
"""Another item is on the page, and the frame with it is over."""


# ---------------------------------------------------------------- order
def quarantined(texts: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
    """All texts of some products; a reviewer rejects the ``faulty`` ones."""
    products = np.sort(texts["entity_id"].unique())
    chosen = rng.permutation(products)[: round(QUARANTINED * len(products))]
    rows = texts[texts["entity_id"].isin(chosen)].reset_index(drop=True)
    return rows.assign(faulty=rng.random(len(rows)) < FAULTY)


def pending(rows: pd.DataFrame, entities: pd.DataFrame) -> list[PendingText]:
    """The rows as a reviewer gets them."""
    names = dict(zip(entities["entity_id"], entities["entity"], strict=True))
    return [
        PendingText(
            **{name: row[name] for name in ("explanation_id", "entity_id", "language", "text", "generator")},
            entity=names[row["entity_id"]],
            category="",
            rules="low_text_quality",
            values="",
        )
        for row in rows.to_dict("records")
    ]


def recall(model: LoadedModel, data: DataLayout, texts: pd.DataFrame, into: DataLayout) -> float:
    """R@1 in percent with these texts in the index."""
    with_explanations(data, texts[pairs.EXPLANATIONS.names], into=into)
    calibrated = replace(model, card=calibrate(model, into))
    report, _ = evaluate(calibrated, into, split="test", progress=False)
    return float(report.value("R@1", index="mixed") or 0.0)


def trained(layout: Layout, data: DataLayout, texts: pd.DataFrame, *, epochs: int | None) -> LoadedModel:
    """A model of the preset ``demo`` on these texts; an earlier one is reused."""
    config, to = presets.demo().train.changed(epochs=epochs), AblationLayout(layout.root / "trained")
    key = run_key(config, data_hash=pairs.digest(*texts["explanation_id"]))
    run = to.run("left", key=key)

    def make() -> DataLayout:
        with_explanations(data, texts, into=to.data("left"))
        return to.data("left")

    train_and_evaluate(config, make_data=make, key=key, run=run, decoded=to.decoded)
    return checkpoint.load(run.checkpoint)


def gains(layout: Layout, *, products: int, epochs: int | None) -> dict[str, Any]:
    """Recall before and after a hundred decisions, by order."""
    data, rng = faultless_catalog(layout, products=products), np.random.default_rng(0)
    texts, entities = pairs.read_frame(data.explanations), pairs.read_frame(data.entities)
    rows = quarantined(texts, rng)
    left = texts[~texts["explanation_id"].isin(rows["explanation_id"])]
    loaded = trained(layout, data, left, epochs=epochs)
    batch = DataLayout(layout.root / "batch")
    with_explanations(data, pd.concat([left, rows])[pairs.EXPLANATIONS.names], into=batch)
    ordered = [text.explanation_id for text in by_expected_gain(pending(rows, entities), batch)]

    def after(order: list[str]) -> float:
        decided = rows[rows["explanation_id"].isin(order[:DECISIONS]) & ~rows["faulty"]]
        return recall(loaded, data, pd.concat([left, decided]), DataLayout(layout.root / "decided"))

    before = after([])
    drawn = [after([ordered[place] for place in rng.permutation(len(ordered))]) for _ in range(DRAWS)]
    by_order, by_chance = after(ordered) - before, float(np.mean(drawn)) - before
    return {
        "recall_gain_per_100_ordered": round(by_order, 2),
        "recall_gain_per_100_random": round(by_chance, 2),
        "times_random": round(by_order / by_chance, 2) if by_chance else None,
        "recall_before": round(before, 2),
        "recall_random": [round(value, 2) for value in drawn],
        "texts_waiting": len(rows),
    }


# ---------------------------------------------------------------- pages
def waiting_workspace(layout: Layout, data: DataLayout, *, texts: int) -> None:
    """A workspace in which so many texts wait, about the products of the catalogue."""
    shutil.rmtree(layout.root, ignore_errors=True)
    known = pairs.read_frame(data.explanations)
    rows = known.iloc[np.arange(texts) % len(known)].reset_index(drop=True)
    rows["text"] += [f" Order number {number}." for number in range(texts)]
    rows["explanation_id"] = [pairs.digest(text) for text in rows["text"]]
    layout.staging.root.mkdir(parents=True)
    with_explanations(data, rows, into=layout.staging)
    lines = pd.DataFrame({"table": "explanations", "id": rows["explanation_id"], "rule": "invented_code"})
    lines["value"] = [f"number {number}" for number in range(texts)]
    layout.quarantine("b").parent.mkdir(parents=True)
    write_quarantine_file(layout.quarantine("b"), lines.reindex(columns=COLUMNS))
    QualityReport(
        accepted_pairs=0,
        accepted_explanations=0,
        quarantined_pairs=0,
        quarantined_explanations=texts,
        quarantine_file=str(layout.quarantine("b").relative_to(layout.root)),
        refused=True,
        rules=(),
        suite_hash="",
        validation_page=None,
    ).write(layout.staging_quality)


@contextmanager
def served(layout: Layout) -> Iterator[str]:
    """The pages of a workspace, in a thread; gives their address."""
    server = uvicorn.Server(uvicorn.Config(application(layout, layout.service), port=0, log_level="warning"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.05)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()


def pressed(layout: Layout, *, decisions: int) -> dict[str, Any]:
    """Seconds from each key to the next item, in Chromium."""
    from playwright.sync_api import sync_playwright

    key = keys.make(layout.service.keys, name="script", scopes=("query", "review"), per_minute=1_000_000)
    seconds = []
    with served(layout) as url, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page()
        page.goto(f"{url}/ui/")
        page.fill("#key", key)
        page.press("#key", "Enter")
        page.wait_for_selector("article.item")
        busy = time.process_time()
        for number in range(decisions):
            before = page.get_attribute("input[name=item]", "value")
            started = time.monotonic()
            page.keyboard.press("ar"[number % 2])
            page.wait_for_function(PAINTED, arg=before)
            seconds.append(time.monotonic() - started)
        busy = time.process_time() - busy
        browser.close()
    return {
        "seconds_per_decision": round(float(np.mean(seconds)), 4),
        "p95_ms": round(1000 * float(np.quantile(seconds, 0.95)), 1),
        "cpu_ms_per_decision": round(1000 * busy / len(seconds), 1),
        "decisions": len(seconds),
    }


def main(
    to: Annotated[Path, typer.Option(help="Where the catalogue, the model and the workspace are kept.")] = Path(
        "build/review"
    ),
    products: Annotated[int, typer.Option(help="Products to draw.")] = 300,
    epochs: Annotated[int | None, typer.Option(min=1, help="Another number of epochs than the preset's.")] = None,
    waiting: Annotated[int, typer.Option(help="Texts that wait while the pages are measured.")] = 10_000,
    pages_only: Annotated[bool, typer.Option("--pages-only", help="Measure the pages alone.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Only the JSON object.")] = False,
) -> None:
    """Simulate the order, press keys; print one JSON object last."""
    started, layout = time.monotonic(), Layout(to)
    answer: dict[str, Any] = {} if pages_only else gains(layout, products=products, epochs=epochs)
    full = Layout(to / "waiting")
    waiting_workspace(full, faultless_catalog(layout, products=products), texts=waiting)
    answer |= pressed(full, decisions=PRESSED) | {"items_waiting": waiting}
    if not as_json:
        for name, value in answer.items():
            print(f"{name:32} {value}")
    print(json.dumps(answer | {"seconds": round(time.monotonic() - started, 1), "peak_gib": peak_gib()} | facts()))


if __name__ == "__main__":
    typer.run(main)
