"""A small sound batch in staging, whose rows the tests then spoil."""

from __future__ import annotations

import hashlib
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from entityclip.data import pairs
from entityclip.explanations import SourceWriter, record
from entityclip.paths import DataLayout
from entityclip.schemas import ExplanationRequest, QualityReport
from expectations.check import check, copy_context

SENTENCE = "The {kind} numbered {code} has a red body with {number} white dots on the front."


@dataclass
class Batch:
    """Rows by table, as ingest and explain would write them; ``gate`` writes them and runs the gate."""

    root: Path
    pictures: list[dict[str, Any]] = field(default_factory=list)
    texts: list[dict[str, Any]] = field(default_factory=list)
    entities: list[dict[str, Any]] = field(default_factory=list)

    def add(self, number: int) -> None:
        """One product with a picture and a text, both sound."""
        code, kind = f"KX-{100 + number}B", ("kettle", "lamp", "chair")[number % 3]
        entity_id = pairs.entity_id(code)
        known = {"entity_id": entity_id, "entity": code, "category": kind, "language": "en", "licence": "MIT"}
        self.entities.append({**known, "aliases": [], "source": "table"})
        picture = f"picture {number}".encode()
        sha256 = hashlib.sha256(picture).hexdigest()
        place = {"source": "table", "row": number + 1, "split": "test" if number % 4 == 3 else "train"}
        self.pictures.append(
            {
                **known,
                **place,
                "pair_id": pairs.pair_id(sha256, code, code),
                "image": {"bytes": picture, "path": f"{number}.jpg"},
                "image_sha256": sha256,
                "width": 96,
                "height": 96,
                "caption": code,
                "explanation": None,
            }
        )
        request = ExplanationRequest(entity_id=entity_id, entity=code, caption=code)
        text = SENTENCE.format(kind=kind, code=code, number=number)
        self.texts.append(record(request, text, writer=SourceWriter()).model_dump())

    @property
    def staging(self) -> DataLayout:
        return DataLayout(self.root / "staging")

    @property
    def accepted(self) -> DataLayout:
        return DataLayout(self.root / "accepted")

    @property
    def quarantine(self) -> Path:
        return self.root / "quarantine.csv"

    @property
    def suites(self) -> Path:
        return self.root / "expectations"

    def suite(self, name: str) -> Path:
        """A suite's JSON file, the workspace's own copy."""
        if not self.suites.exists():
            copy_context(self.suites)
        return self.suites / "gx" / "expectations" / f"{name}.json"

    def write(self) -> None:
        shutil.rmtree(self.staging.root, ignore_errors=True)
        self.suite("pairs")
        pairs.start(self.staging)
        writer = pairs.PairsWriter(self.staging.pairs)
        for row in self.pictures:
            writer.add(row)
        writer.close()
        source_provided = ({"row": i + 1, **{k: t[k] for k in ("entity_id", "text")}} for i, t in enumerate(self.texts))
        pairs.write_rows(self.staging.entities, pairs.ENTITIES, self.entities, name="entities")
        pairs.write_rows(self.staging.source_provided, pairs.SOURCE_PROVIDED, source_provided, name="source_provided")
        pairs.write_rows(self.staging.explanations, pairs.EXPLANATIONS, self.texts, name="explanations")
        pairs.finish(self.staging)

    def gate(self) -> QualityReport:
        self.write()
        return self.judge()

    def judge(self, **more: Any) -> QualityReport:
        where = {"accepted": self.accepted, "quarantine": self.quarantine, "context_root": self.suites}
        return check(self.staging, **where, **more)  # type: ignore[arg-type]
