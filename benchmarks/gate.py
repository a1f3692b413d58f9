"""Cost of the gate for a million explanations: all scores of texts and of the set, and the rules of the suite.

    python benchmarks/gate.py --rows 1000000 --json

The texts are generated from a seed: entities with a model number and a name in categories of about two hundred, five
texts each, one per sentence form, with kind, colours, pattern, material, part and size drawn per entity. Every fiftieth
entity is described in Japanese. Each kind of fault is injected into a fiftieth of the texts. The texts are in Parquet
shards of 50,000 rows and are scored shard by shard by several processes. The rules check five shards at once, because
Great Expectations takes most of a second per table, regardless of its size.

``seconds`` is wall time of scores and rules, including reading and excluding generation; ``cpu_seconds`` is processor
time of the same in all processes; ``peak_gib`` is the sum of the peaks of this process and of those that read texts.
"""

from __future__ import annotations

import json
import random
import resource
import tempfile
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
import typer
from lib.machine import facts, peak_gib

from entityclip.quality import score_shards
from entityclip.quality.fault_injection import inject_faults

TEXTS_EACH, SHARD_ROWS, PER_CATEGORY, FAULTY = 5, 50_000, 200, 0.02
JUDGED_AT_ONCE = 5
COLOURS = ["red", "blue", "green", "yellow", "black", "white", "purple", "orange", "pink", "brown", "grey", "teal"]
PATTERNS = ("vertical stripes", "horizontal stripes", "dots", "checks", "zigzags", "waves", "stars", "diamonds")
LABELS = ("round", "diamond", "square", "oval")
SYLLABLES, MATERIALS, PARTS = (
    words.split()
    for words in (
        "ba bel dor fi ga jo ka lo lu mi mon na pa sel ta tor va ven zan zo",
        "steel oak glass linen bamboo copper leather marble cotton wool brass cork slate pine nylon enamel",
        "handle lid base rim strap dial button spout hinge knob frame grille pocket stand cover clasp",
    )
)
FORMS = (
    "The {code} is a {body} {kind} made of {material} with {accent} {pattern}; its {part} is {trim}, and a {label} "
    "label sits on the front.",
    "Look for a {kind} in {body}. The body shows {accent} {pattern} on {material}, a {label} sticker can be seen on "
    "it, and the {part} is painted {trim}.",
    "There is a {label} label on this {kind}, which is {width} cm wide. Its main colour is {body}, it has {accent} "
    "{pattern}, and {trim} is the colour of the {part}.",
    "Customers know the {name} by its {trim} {part}: a {material} {kind} finished in {body}, showing {accent} "
    "{pattern}.",
    "This {kind} stands {height} cm high on {material}. You can see {accent} {pattern} on a {body} ground and a {part} "
    "in {trim}.",
)
JAPANESE = (
    "{code}は{material}でできた{body}の{kind}で、{accent}の{pattern}があり、{part}は{trim}です。",
    "{body}の{kind}です。{accent}の{pattern}が入っていて、{part}は{trim}に塗られています。",
    "正面に{label}のラベルが貼られた{kind}で、幅は{width}cm、{part}の色は{trim}です。",
    "{name}は{trim}の{part}が目印の{body}の{kind}で、{accent}の{pattern}が見えます。",
    "高さ{height}cmの{material}の{kind}です。{body}の地に{accent}の{pattern}が入っています。",
)


def entity(number: int) -> tuple[dict[str, Any], list[str]]:
    """One row of the entity table, and its texts; deterministic in the number."""
    rng = random.Random(number)
    letters = "ABCDEFGHJKLMNPQRSTUVWXYZ"
    pair, last = divmod(number // 900, 24)
    code = f"{letters[pair // 24 % 24]}{letters[pair % 24]}-{100 + number % 900}{letters[last]}"
    name = " ".join("".join(rng.choices(SYLLABLES, k=3)).capitalize() for _ in range(2))
    category = number // PER_CATEGORY
    body, accent, trim = rng.sample(COLOURS, 3)
    look = {
        "kind": SYLLABLES[category % 20] + SYLLABLES[category // 20 % 20] + SYLLABLES[category // 400 % 20],
        "pattern": rng.choice(PATTERNS),
        "label": rng.choice(LABELS),
        "material": rng.choice(MATERIALS),
        "part": rng.choice(PARTS),
        "width": rng.randint(10, 90),
        "height": rng.randint(10, 90),
    }
    forms = JAPANESE if number % 50 == 0 else FORMS
    row = {"entity_id": f"{number:016x}", "entity": code, "aliases": [name], "category": look["kind"]}
    filled = [form.format(code=code, name=name, body=body, accent=accent, trim=trim, **look) for form in forms]
    return row | {"language": "ja" if forms is JAPANESE else "en"}, filled


def generate(folder: Path, *, rows: int) -> pd.DataFrame:
    """Write ``rows`` explanations into ``folder`` as Parquet shards; returns the entity table."""
    entities = []
    for shard, start in enumerate(range(0, rows, SHARD_ROWS)):
        some = [entity(number) for number in range(start // TEXTS_EACH, min(rows, start + SHARD_ROWS) // TEXTS_EACH)]
        frame = pd.DataFrame(
            {
                "explanation_id": f"{row['entity_id']}.{place}",
                "entity_id": row["entity_id"],
                "caption": row["entity"],
                "text": text,
                "language": row["language"],
                "generator": "source",
                "prompt_version": "verbatim",
            }
            for row, texts in some
            for place, text in enumerate(texts)
        )
        these = pd.DataFrame([row for row, _ in some])
        inject_faults(frame, these, share=FAULTY, seed=shard).to_parquet(folder / f"{shard:05}.parquet", index=False)
        entities.append(these)
    return pd.concat(entities, ignore_index=True)


def measure(folder: Path, entities: pd.DataFrame, *, processes: int, progress: bool) -> dict[str, Any]:
    """Seconds of scores and rules, and the number of quarantined texts."""
    # Imported here: the processes that read texts import this file, and need none of it.
    from expectations.suites import copy_context, validate

    copy_context(folder)
    files = sorted(folder.glob("*.parquet"))

    def shards() -> Iterator[pd.DataFrame]:
        return (pd.read_parquet(file) for file in files)

    started, judging, aside, planted, caught = time.monotonic(), 0.0, 0, 0, 0
    scored_shards = score_shards(shards, entities, processes=processes)
    while some := list(islice(scored_shards, JUDGED_AT_ONCE)):
        before, scored = time.monotonic(), pd.concat(some, ignore_index=True)
        verdict = validate(scored, suite="explanations", context_root=folder)
        judging += time.monotonic() - before
        broken = set(verdict.broken["position"])
        faulty = scored["injected_fault"].notna().to_numpy().nonzero()[0]
        aside, planted, caught = aside + len(broken), planted + len(faulty), caught + len(broken & set(faulty.tolist()))
        if progress:
            print(f"{aside:,} set aside after {time.monotonic() - started:.0f} s", flush=True)
    seconds = time.monotonic() - started
    counts = {"set_aside": aside, "planted": planted, "planted_set_aside": caught}
    return {"seconds": round(seconds, 1), "seconds_rules": round(judging, 1), **counts}


def processor_seconds() -> float:
    """Processor seconds of this process and of its finished children."""
    return sum(sum(resource.getrusage(who)[:2]) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))


def main(
    rows: Annotated[int, typer.Option(min=TEXTS_EACH, help="Explanations.")] = 1_000_000,
    processes: Annotated[int, typer.Option(min=1, help="That read texts.")] = 2,
    as_json: Annotated[bool, typer.Option("--json", help="Only the JSON object.")] = False,
) -> None:
    """Generate, score and validate; print one JSON object last."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        entities = generate(folder, rows=rows)
        before = processor_seconds()
        answer = measure(folder, entities, processes=processes, progress=not as_json)
        answer["cpu_seconds"] = round(processor_seconds() - before, 1)
    readers = processes * resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20 if processes > 1 else 0.0
    sizes = {"rows": rows, "entities": len(entities), "processes": processes}
    print(json.dumps(answer | {"peak_gib": round(peak_gib() + readers, 2)} | sizes | facts()))


if __name__ == "__main__":
    typer.run(main)
