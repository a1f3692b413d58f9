"""A person whose data are erased, and the search for what is left of her."""

from __future__ import annotations

import hashlib
import io
import json
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from PIL import Image
from tiny import tiny_data

from bentos.runtime.feedback import Feedback, Spool
from bentos.runtime.samples import Samples
from entityclip.data import pairs
from entityclip.data.erasure import ErasureRequest
from entityclip.explanations.ledger import Ledger
from entityclip.explanations.source_writer import WriterAnswer
from entityclip.paths import ChangesLayout, DataLayout, Layout
from entityclip.quality.review import Review, add_reviews
from entityclip.retrieval.index import Changes
from entityclip.schemas import EntityEntry, ExplanationRecord, ExplanationRequest
from flows.workspace.repository import Repository

NAME, ALIAS = "山田花子", "hanako@example.jp"
TEXT = f"{NAME}の肖像。連絡先は{ALIAS}です。"
PERSON = pairs.entity_id(NAME)


def portrait(number: int) -> bytes:
    noise = np.random.default_rng(1000 + number).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    Image.fromarray(noise).save(file := io.BytesIO(), "JPEG", quality=95)
    return file.getvalue()


PICTURES = [portrait(number) for number in range(3)]
SHAS = [hashlib.sha256(picture).hexdigest() for picture in PICTURES]


def person_data(root: Path, *, pictures: int, held_out: int = 1) -> DataLayout:
    """The tiny data, and so many pictures of a person with a text about her."""
    before, data = tiny_data(root.with_name(f"{root.name}-before"), held_out=held_out), DataLayout(root)
    pairs.start(data)
    writer = pairs.PairsWriter(data.pairs)
    for row in pairs.iter_rows(before.pairs):
        writer.add(row)
    about = {"entity_id": PERSON, "entity": NAME, "language": "ja"}
    for number in range(pictures):
        sha = SHAS[number]
        image = {"bytes": PICTURES[number], "path": f"{ALIAS}/{number}.jpg"}
        ids = {"pair_id": pairs.pair_id(sha, NAME, NAME), "image_sha256": sha, "image": image}
        row = about | ids | {"caption": NAME, "split": "train", "explanation": TEXT, "width": 32, "height": 32}
        writer.add(row)
    counts = writer.close()
    entities, texts = list(pairs.iter_rows(before.entities)), list(pairs.iter_rows(before.explanations))
    if pictures:
        entities.append(about | {"aliases": [ALIAS], "category": "person"})
        texts.append({"explanation_id": pairs.digest(TEXT), "caption": NAME, "text": TEXT} | about)
    pairs.write_rows(data.entities, pairs.ENTITIES, entities, name="entities")
    pairs.write_rows(data.explanations, pairs.EXPLANATIONS, texts, name="explanations")
    pairs.finish(data, pairs=sum(counts.values()), entities=len(entities), explanations=len(texts), **counts)
    return data


def traces(root: Path, needles: list[bytes]) -> list[str]:
    """Files below ``root`` that hold a needle: raw, inside Parquet, inside Git's objects."""
    found = []
    for path in sorted(root.rglob("*")):
        if not path.is_file() or path.is_symlink():
            continue
        content = path.read_bytes()
        if content[:4] == b"PAR1":
            content += repr(pq.read_table(path).to_pylist()).encode()
            content += b"".join(row["image"]["bytes"] for row in _images(path))
        if any(needle in content for needle in needles):
            found.append(str(path.relative_to(root)))
    objects = subprocess.run(
        ["git", "cat-file", "--batch-all-objects", "--batch"], cwd=root, capture_output=True, check=True
    ).stdout
    return found + ["a Git object"] * any(needle in objects for needle in needles)


def _images(path: Path) -> list[dict[str, Any]]:
    file = pq.ParquetFile(path)
    return file.read(columns=["image"]).to_pylist() if "image" in file.schema_arrow.names else []


NEEDLES = [text.encode() for text in (NAME, ALIAS)] + [json.dumps(NAME).strip('"').encode()] + PICTURES


def fill_state(layout: Layout) -> None:
    """What a writer, a reviewer and a service leave behind about her, and about others."""
    for name, entity_id, text, sha in ((NAME, PERSON, TEXT, PICTURES[2]), ("KX-RED", "other", "A red disc.", b"")):
        request = ExplanationRequest(entity_id=entity_id, entity=name, caption=name)
        record = ExplanationRecord(
            explanation_id=pairs.digest(text),
            entity_id=entity_id,
            caption=name,
            text=text,
            language="ja",
            generator="g",
            prompt_version="1",
        )
        with Ledger(layout.ledger) as ledger:
            ledger.keep(name, WriterAnswer(request=request, records=(record,)), writer=_Named())
        feedback = {"release": "v1.0.0", "key": "k", "verdict": "right", "entity_id": entity_id, "entity": name}
        Spool(layout.service.feedback).put(Feedback(**feedback, picture=sha, text=text))
    Samples(layout.service.samples).write({"release": "v1.0.0", "script": "Latin"})
    changes = Changes(ChangesLayout(layout.service.entities), fingerprint="f")
    for name in (NAME, "KX-NEW"):
        entry = EntityEntry(entity=name, aliases=(ALIAS,) if name == NAME else (), explanations=(f"{name} is new.",))
        picture = PICTURES[0] if name == NAME else portrait(8)
        changes.put(pairs.entity_id(name), entry, pictures=[picture], keep_pictures=True, vectors={})
    layout.quarantine("b").parent.mkdir(parents=True)
    layout.quarantine("b").write_text(f"table,text\npairs,{TEXT}\n")
    review = {"explanation_id": "1", "entity_id": PERSON, "entity": NAME, "rules": "email", "text": TEXT}
    other = {"explanation_id": "2", "entity_id": "other", "entity": "KX-RED", "rules": "email", "text": "A red disc."}
    for given in (review, other):
        add_reviews(
            layout.reviews,
            [Review(**given, decision="accept", reviewer="ana", minutes=1, day="2026-11-01")],  # type: ignore[arg-type]
        )
    Repository(layout.root).commit("Reviews", [layout.reviews])


class _Named:
    generator = "g"

    def prompt_version(self, _: ExplanationRequest) -> str:
        return "1"


def entity_request() -> ErasureRequest:
    return ErasureRequest(kind="entity", value=PERSON)
