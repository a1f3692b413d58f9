"""The example of a Bento, and the commands that serve it and send the example."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path

from entityclip.data import pairs
from entityclip.paths import DataLayout, StoreLayout
from entityclip.schemas import BentoRecord


def write_example(layout: StoreLayout, version: str, data: DataLayout) -> tuple[str, str]:
    """The first picture of the data as a file, and the name of its entity."""
    row = next(pairs.iter_rows(data.pairs, columns=["entity", "image"]), None)
    if row is None:
        return "", ""
    path = layout.example(version, suffix=Path(row["image"]["path"] or "").suffix)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(row["image"]["bytes"])
    return row["entity"], str(path)


def serve_command(bento: BentoRecord, *, port: int = 3000) -> str:
    """Shell commands: the first serves the Bento to this machine only, the others query it from a second terminal."""
    program = Path(sys.executable).with_name("bentoml")
    home = f"BENTOML_DO_NOT_TRACK=True BENTOML_HOME={shlex.quote(bento.store)} ENTITYCLIP_KEYLESS=local"
    lines = [f"{home} {shlex.quote(str(program))} serve {bento.tag} --port {port}"]
    if bento.example_text:
        body = shlex.quote(json.dumps({"text": bento.example_text, "k": 5}, ensure_ascii=False))
        lines.append(f"curl -s localhost:{port}/search -H 'Content-Type: application/json' -d {body}")
    if bento.example_picture:
        lines.append(f"curl -s localhost:{port}/tag -F image=@{shlex.quote(bento.example_picture)}")
    return "\n".join(lines)
