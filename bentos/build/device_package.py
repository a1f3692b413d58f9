"""Writes a device package: towers, vectors and a runner that needs onnxruntime, numpy and Pillow alone.

It tags as the packaged release does: tags and vectors are compared with the predictor's before the folder appears.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from pydantic import Field

from bentos.runtime.manifest import verify_files
from entityclip.errors import ConfigError, PackagingError
from entityclip.model import checkpoint, onnx_runtime
from entityclip.paths import DeviceLayout, ExportedLayout, PackageLayout
from entityclip.retrieval import tagging
from entityclip.retrieval.index.mixture import GROUPS, groups_of
from entityclip.retrieval.predictor import Predictor
from entityclip.schemas import PackageCard, Record, Runtime
from entityclip.storage import atomic_path

LIBRARIES = ("onnxruntime", "numpy", "Pillow")
RUNNER = Path(__file__).with_name("device_runner.py")
TOLERANCE = 1e-4
"""Largest difference between the runner's scores and confidences and the predictor's: both run the same towers."""
COMPARED = 20
MEASURED = """
import json, sys, time
began = time.perf_counter()
import numpy, runner
from PIL import Image
package = runner.DevicePackage()
found = {"load_s": time.perf_counter() - began}
noise = Image.fromarray(numpy.random.default_rng(0).integers(0, 256, (480, 640, 3), dtype=numpy.uint8))
name = package.entities[0]["entity"]
for what, call in (("tag_ms", lambda: package.tag(noise)), ("search_ms", lambda: package.search(name))):
    times = [time.perf_counter(), *(call() and time.perf_counter() for _ in range(20))]
    found[what] = 1000 * float(numpy.median(numpy.diff(times)))
if sys.platform == "linux":
    found["peak_mb"] = int(open("/proc/self/status").read().split("VmHWM:")[1].split()[0]) / 1024
print(json.dumps({name: round(value, 2) for name, value in found.items()}))
"""


class DeviceCard(Record):
    """What the runner reads, and what was measured where the folder was made."""

    release: str
    fingerprint: str = Field(description="Of the model.")
    runtime: Runtime
    machines: tuple[str, ...] = Field(description="Kinds of processors that int8 is proven for; empty: any.")
    preprocessing: dict[str, Any]
    context: int = Field(description="Tokens of a text at most.")
    scale: float = Field(description="Of the confidences.")
    precision: float = Field(description="What sure tags were held to on validation pictures.")
    least_confidence: float | None = Field(description="None where no confidence could be proved: no tag is sure.")
    open_set: dict[str, Any] | None
    words: bool = Field(description="Whether it finds by descriptions; else by names and codes alone.")
    files: dict[str, str] = Field(description="File beside the card -> SHA-256.")
    measured: dict[str, float] = Field(description="Seconds to load, median milliseconds, megabytes at the peak.")


def write_device_package(
    package: PackageLayout,
    to: Path,
    *,
    towers: ExportedLayout | None = None,
    runtime: Runtime = "onnx-int8",
    precision: float = tagging.PRECISION,
) -> DeviceCard:
    """Write the folder ``to``, which appears whole; an older device package is replaced.

    Args:
        package: A release's package.
        to: Where it goes.
        towers: Exported towers; None: those of the package.
        runtime: ``onnx``, ``onnx-int8`` or ``distilled``.
        precision: Target precision of sure tags; one that was calibrated.

    Raises:
        ConfigError: ``to`` holds something else, ``runtime`` or ``precision`` is impossible, or int8 is not proven for
            this processor.
        CheckpointError, DataError: The package is damaged, or has no exported towers.
        PackagingError: The runner's answers differ from the predictor's.
    """
    if runtime == "torch":
        raise ConfigError(
            "runtime 'torch': a device package has exported towers; expected onnx, onnx-int8 or distilled"
        )
    if to.exists() and not (to.is_dir() and (DeviceLayout(to).card.is_file() or not any(to.iterdir()))):
        raise ConfigError(f"{to}: holds something else than a device package; name a new or an empty folder")
    verify_files(package)
    predictor = _predictor(package, towers or package.checkpoint.exported, runtime)
    with atomic_path(to) as temporary:
        temporary.mkdir()
        layout = DeviceLayout(temporary)
        words = _write_towers(layout, predictor, towers or package.checkpoint.exported, runtime)
        _write_entities(layout, predictor)
        shutil.copyfile(RUNNER, layout.runner)
        layout.requirements.write_text("".join(f"{name}=={version(name)}\n" for name in LIBRARIES))
        machines = _machines(towers or package.checkpoint.exported) if runtime == "onnx-int8" else ()
        card = _card(layout, package, predictor, precision=precision, words=words, machines=machines)
        card.write(layout.card)
        _require_same(layout, predictor, precision=precision)
        card = card.model_copy(update={"measured": _measured(layout)})
        card.write(layout.card)
        layout.readme.write_text(_readme(card), encoding="utf-8")
    return card


def _predictor(package: PackageLayout, towers: ExportedLayout, runtime: Runtime) -> Predictor:
    predictor = Predictor.load(package.root)
    model = onnx_runtime.on(runtime, checkpoint.load(package.checkpoint), towers)
    return Predictor(model, predictor.entities, None, predictor.text, None, runtime)


def _machines(towers: ExportedLayout) -> tuple[str, ...]:
    """Kinds of processors, as Python's ``platform.machine`` names them, on all of which int8 is proven."""
    proven = onnx_runtime.read_card(towers).int8_proven
    others = tuple(name for name in proven if name not in onnx_runtime.X86_64)
    if not set(onnx_runtime.X86_64) <= set(proven):
        if not others:
            raise ConfigError(f"{towers.card}: int8 is not proven for every x86-64; export again: entityclip export")
        return others
    return ("x86_64", "amd64", *others)


# ---------------------------------------------------------------- files
def _write_towers(layout: DeviceLayout, predictor: Predictor, towers: ExportedLayout, runtime: Runtime) -> bool:
    """Copy the towers and the tokenizer; returns whether the runner can read its file."""
    shutil.copyfile(towers.tower("image", runtime=runtime), layout.tower("image"))
    if not predictor.model.card.tokenisation.learned:
        return False
    predictor.model.tokenizer.save(layout.scratch)
    shutil.copyfile(layout.scratch / layout.tokenizer.name, layout.tokenizer)
    shutil.rmtree(layout.scratch)
    shutil.copyfile(towers.tower("text", runtime=runtime), layout.tower("text"))
    return True


def _write_entities(layout: DeviceLayout, predictor: Predictor) -> None:
    entities = predictor.entities
    columns = ["entity_id", "entity", "aliases", "category", "explanation"]
    rows = entities.rows[columns].to_dict("records")
    plain = [row | {"aliases": list(row["aliases"])} for row in rows]
    layout.entities.write_text(json.dumps(plain, ensure_ascii=False, indent=0), encoding="utf-8")
    vectors = entities.vectors
    np.savez(
        layout.vectors,
        mixed=vectors["mixed"],
        offsets=entities.offsets["mixed"],
        texts=(vectors["caption"] + vectors["explanation"]) / 2,
        images=vectors["images"],
        pictured=entities.pictured,
        groups=groups_of(entities.rows),
    )


def _card(
    layout: DeviceLayout,
    package: PackageLayout,
    predictor: Predictor,
    *,
    precision: float,
    words: bool,
    machines: tuple[str, ...],
) -> DeviceCard:
    model = predictor.model
    bar = tagging.bar_of(model.card, precision)
    rule = None if model.card.open_set is None else model.card.open_set.model_dump(exclude={"targets"})
    if rule is not None:
        thresholds = {} if bar.open_set is None else bar.open_set.thresholds
        rule["least_by_group"] = [thresholds.get(group) for group in GROUPS]
    files = sorted(path for path in layout.root.iterdir() if path != layout.card)
    return DeviceCard(
        release=PackageCard.model_validate_json(package.release.read_bytes()).release.version,
        fingerprint=model.card.fingerprint,
        runtime=predictor.runtime,
        machines=machines,
        preprocessing=model.card.preprocessing.model_dump(mode="json"),
        context=model.card.tokenisation.context,
        scale=model.scale,
        precision=precision,
        least_confidence=None if np.isinf(bar.confidence) else bar.confidence,
        open_set=rule,
        words=words,
        files={path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files},
        measured={},
    )


# ---------------------------------------------------------------- proof
def _require_same(layout: DeviceLayout, predictor: Predictor, *, precision: float) -> None:
    """Compare tags of drawn pictures, and vectors of the first names, with the predictor's; not searches, which also
    correct spellings there.
    """
    from bentos.build.device_runner import DevicePackage  # loads ONNX Runtime

    runner = DevicePackage(layout.root)
    for number, picture in enumerate(_pictures()):
        expected = predictor.tag(picture, k=5, precision=precision)
        found = runner.tag(picture, k=len(predictor.entities.rows))
        tags = {tag["entity_id"]: tag for tag in found}
        for tag in expected:
            ours = tags[tag.entity_id]
            worst = max(abs(ours["score"] - tag.score), abs(ours["confidence"] - tag.confidence))
            if worst > TOLERANCE or ours["sure"] != tag.above_threshold:
                raise PackagingError(f"picture {number}: the runner answers {ours}; expected {tag}")
    if runner.card["words"]:
        for text in _texts(predictor):  # one by one: int8 takes its ranges from all texts of a call
            if np.abs(runner.embed_text(text) - predictor.embed_texts([text])[0]).max() > TOLERANCE:
                raise PackagingError(f"the runner reads {text!r} otherwise than the model does")


def _texts(predictor: Predictor) -> list[str]:
    """Names and beginnings of explanations, short enough to be read in one piece."""
    rows = predictor.entities.rows.head(COMPARED)
    most = predictor.model.card.tokenisation.context
    texts = [*rows["entity"], *(text[: most // 2] for text in rows["explanation"] if text)]
    return [text for text in texts if predictor.model.tokenizer.lengths([text])[0] <= most]


def _pictures() -> Sequence[Image.Image]:
    """Pictures of different shapes: noise that is smooth in some and rough in others."""
    random = np.random.default_rng(0)
    sizes = [(640, 480), (90, 400), (31, 33), (1200, 300)]
    rough = [random.integers(0, 256, (height // 8 + 1, width // 8 + 1, 3), dtype=np.uint8) for width, height in sizes]
    return [Image.fromarray(noise).resize(size) for noise, size in zip(rough, sizes, strict=True)]


def _measured(layout: DeviceLayout) -> dict[str, float]:
    """What the runner takes in a process of its own, with every core of this machine."""
    command = [sys.executable, "-B", "-c", MEASURED]
    done = subprocess.run(command, cwd=layout.root, capture_output=True, text=True, timeout=600)
    if done.returncode != 0:
        raise PackagingError(f"the runner failed in a process of its own: {done.stderr[-1500:]}")
    found: dict[str, float] = json.loads(done.stdout)
    return found


def _readme(card: DeviceCard) -> str:
    described = (
        "names, codes and descriptions" if card.words else "names and codes (this model's tokenizer is not here)"
    )
    figures = ", ".join(f"{name} {value:g}" for name, value in card.measured.items())
    return f"""# Release {card.release} for a device

Tags pictures and finds entities by {described}.
Needs Python 3.10 or later with the three libraries of `requirements.txt`, and no network.

    pip install -r requirements.txt
    python runner.py tag picture.jpg
    python runner.py search "name, code or description"

A tag is `sure` where its confidence and its open-set score reach what validation pictures proved for a precision of
{card.precision:g}. Towers: {card.runtime}. Measured where this folder was made, on a picture of 640 x 480:
{figures}.
"""
