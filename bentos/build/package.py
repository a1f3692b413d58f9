"""Builds a Bento from a promoted release.

The package (weights, card, indexes, reports) becomes a BentoML model; the service's sources become a Bento that
refers to it. A receipt with the hash of every file is written last: a Bento without a receipt is built again.
"""

from __future__ import annotations

import json
import logging
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout
from pydantic import Field, ValidationError

from bentos.build.contents import copy_sources, lay_out, licences_of, sources
from bentos.build.example import write_example
from bentos.build.requirements import package_requirements
from entityclip.data import pairs
from entityclip.errors import PackagingError
from entityclip.model.checkpoint_card import file_sha256, read_card
from entityclip.paths import DataLayout, Layout, StoreLayout
from entityclip.schemas import BentoRecord, PackageCard, PromotionDecision, Record, Release

if TYPE_CHECKING:
    from entityclip.retrieval.index import MapShards

BUILD_SECONDS = 600
log = logging.getLogger("entityclip.package")
DESCRIPTION = """# EntityCLIP {version}

Finds, tags and matches specific things in pictures: `/search` by text, picture or both, `/tag` for a picture,
`/match` for a picture and a text, `/embed_texts`, `/embed_images`; `/about` names release, data and licences.

Built from release {version}, commit {commit}, model {model_fingerprint}, data {data_hash}.
"""


class Receipt(Record):
    """Marks a build as complete and lists its files."""

    release: Release
    files: dict[str, str] = Field(description="File of the store -> SHA-256, for the Bento and its model.")
    bento: BentoRecord


# ---------------------------------------------------------------- build
def build(
    release_dir: Path,
    *,
    release: Release,
    data: DataLayout,
    store: Path,
    map_shards: MapShards = map,
    vectors: Path | None = None,
) -> BentoRecord:
    """Build ``entityclip-service:VERSION``, or return the existing Bento if it is complete and up to date.

    A change in the service's sources also triggers a new build. Only one process builds in a store at a time.

    Args:
        release_dir: The release's files in the layout of a workspace: ``model/`` and ``reports/``.
        release: The release to package.
        data: The release's version of the data, verified by the caller; the indexes are built from it.
        store: BENTOML_HOME.
        map_shards: Maps the embedding over the picture shards; see ``PictureIndex.build``.
        vectors: Folder in which the vectors of pictures are kept; see ``LoadedModel.vectors``.

    Raises:
        PackagingError: The folder holds another release or one that was never promoted, the store holds another
            release under this version, or BentoML could not build.
        CheckpointError, DataError: Weights or data are missing or damaged.
    """
    layout, source = StoreLayout(store.resolve()), Layout(release_dir)
    suite_hash = _require_promoted(source, release)
    if (built := ready(store, release)) is not None:
        return built
    card = PackageCard(release=release, suite_hash=suite_hash, licences=licences_of(data))
    with _build_lock(layout):
        return _build(layout, source, card, data=data, map_shards=map_shards, vectors=vectors)


def _build(
    layout: StoreLayout,
    source: Layout,
    card: PackageCard,
    *,
    data: DataLayout,
    map_shards: MapShards,
    vectors: Path | None,
) -> BentoRecord:
    """Build, unless the previous holder of the lock has already done so."""
    release = card.release
    if (built := ready(layout.root, release)) is not None:
        return built
    building = layout.building(release.version)
    shutil.rmtree(building, ignore_errors=True)
    try:
        copy_sources(layout.sources(release.version))
        lay_out(layout.package(release.version), source, data, card, map_shards=map_shards, vectors=vectors)
        _put(layout, release)
        return _complete(layout, release, data)
    finally:
        shutil.rmtree(building, ignore_errors=True)


@contextmanager
def _build_lock(layout: StoreLayout) -> Iterator[None]:
    """Exclusive lock on builds in this store. Waits while another process builds; is released if the process dies."""
    layout.root.mkdir(parents=True, exist_ok=True)
    lock = FileLock(layout.lock)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        log.warning("%s: another process is building here; waiting until it ends", layout.root)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _require_promoted(source: Layout, release: Release) -> str:
    """Check that the release was promoted; return the hash of the suite that its data passed."""
    if not re.fullmatch(r"v\d+\.\d+\.\d+", release.version):
        raise PackagingError(f"version {release.version!r}: expected a version such as v1.0.0")
    fingerprint = read_card(source.model).fingerprint
    if fingerprint != release.model_fingerprint:
        raise PackagingError(
            f"{source.model.root}: holds model {fingerprint}, but release {release.version} is model "
            f"{release.model_fingerprint}; fetch the release again"
        )
    path = source.report("promotion")
    try:
        decision = PromotionDecision.model_validate_json(path.read_text(encoding="utf-8"))
    except (OSError, ValidationError) as error:
        raise PackagingError(
            f"{path}: no readable promotion decision; only a promoted release is packaged, so promote it first"
        ) from error
    if not decision.promoted or decision.challenger != fingerprint:
        raise PackagingError(f"{path}: does not promote model {fingerprint}; only a promoted release is packaged")
    return decision.suite_hash


def ready(store: Path, release: Release) -> BentoRecord | None:
    """The Bento of an earlier build in ``store`` if it is complete; None if it has to be built.

    Raises:
        PackagingError: The store holds another release under this version.
    """
    layout = StoreLayout(store.resolve())
    receipt = Receipt.read(layout.receipt(release.version))
    if receipt is None:
        return None
    if receipt.release != release:
        raise PackagingError(
            f"{layout.root}: holds {release.version} of another release (commit {receipt.release.commit[:12]}, wanted "
            f"{release.commit[:12]}); use another store, or delete {layout.receipt(release.version).name} to replace it"
        )
    whole = receipt.files == _stored(layout, release.version)
    if not whole or not _same_sources(layout, receipt):
        return None
    # The current location of the store: the workspace may have been moved.
    picture = layout.example(release.version, suffix=Path(receipt.bento.example_picture).suffix)
    example = str(picture) if receipt.bento.example_picture else ""
    return receipt.bento.model_copy(update={"store": str(layout.root), "example_picture": example})


def _same_sources(layout: StoreLayout, receipt: Receipt) -> bool:
    """Whether the Bento holds the current sources."""
    root = layout.bento_sources(receipt.release.version)
    wanted = {(root / name).relative_to(layout.root).as_posix(): path for path, name in sources()}
    return all(receipt.files.get(name) == file_sha256(path) for name, path in wanted.items())


# ---------------------------------------------------------------- into the store
def _put(layout: StoreLayout, release: Release) -> None:
    """Replace this version in the store, with BentoML in a separate process."""
    version = release.version
    layout.receipt(version).unlink(missing_ok=True)
    for remains in (layout.bento(version), layout.model(version).root):
        shutil.rmtree(remains, ignore_errors=True)
    # -P and PYTHONPATH: import the service from the packaged sources. TMPDIR: a killed build leaves no files elsewhere.
    environment = store_environment(layout.root) | {
        "PYTHONPATH": str(layout.sources(version)),
        "TMPDIR": str(layout.building(version)),
        "UV_OFFLINE": "1",
    }
    try:
        done = subprocess.run(
            [sys.executable, "-P", Path(__file__).with_name("store.py")],
            input=json.dumps(_job(layout, release)),
            capture_output=True,
            text=True,
            env=environment,
            cwd=layout.root,
            timeout=BUILD_SECONDS,
        )
    except subprocess.TimeoutExpired as error:
        raise PackagingError(f"entityclip-service:{version}: BentoML took longer than {BUILD_SECONDS} s") from error
    if done.returncode != 0:
        raise PackagingError(f"entityclip-service:{version}: BentoML could not build it:\n{done.stderr[-2000:]}")


def _job(layout: StoreLayout, release: Release) -> dict[str, Any]:
    """Fields of a ``bentos.build.store.BuildJob``. That module imports BentoML, so it is not imported here."""
    labels = {"commit": release.commit, "model": release.model_fingerprint, "data": release.data_hash}
    package = layout.package(release.version)
    requirements, hashed, reason = package_requirements(package)
    if reason:
        log.warning("entityclip-service:%s: its packages are installed without hashes: %s", release.version, reason)
    return {
        "version": release.version,
        "package": str(layout.package(release.version).root),
        "sources": str(layout.sources(release.version)),
        "requirements": requirements,
        "hashed": hashed,
        "labels": {"release": release.version} | labels,
        "description": DESCRIPTION.format(**release.model_dump()),
    }


def store_environment(store: Path) -> dict[str, str]:
    """Environment variables for BentoML on ``store``."""
    return os.environ | {"BENTOML_HOME": str(store), "BENTOML_DO_NOT_TRACK": "True"}


def _complete(layout: StoreLayout, release: Release, data: DataLayout) -> BentoRecord:
    """Write the example and, last, the receipt."""
    text, picture = write_example(layout, release.version, data)
    files = _stored(layout, release.version)
    bento = BentoRecord(
        tag=f"entityclip-service:{release.version}",
        release=release.version,
        store=str(layout.root),
        content=_content(files),
        example_text=text,
        example_picture=picture,
    )
    receipt = Receipt(release=release, files=files, bento=bento)
    receipt.write(layout.receipt(release.version))
    return bento


def _stored(layout: StoreLayout, version: str) -> dict[str, str]:
    """SHA-256 of every file of the Bento and its model, without Python's caches."""
    roots = (layout.bento(version), layout.model(version).root)
    files = (path for root in roots for path in sorted(root.rglob("*")) if path.is_file())
    return {
        path.relative_to(layout.root).as_posix(): file_sha256(path) for path in files if "__pycache__" not in path.parts
    }


def _content(files: dict[str, str]) -> str:
    """Hash of files and names, without the two files in which BentoML records the time."""
    timed = ("bento.yaml", "model.yaml")
    return pairs.digest(*(f"{name} {sha}" for name, sha in sorted(files.items()) if not name.endswith(timed)))
