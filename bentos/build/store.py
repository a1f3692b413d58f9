"""Puts a package and the service into a BentoML store.

Runs as a separate process: BentoML reads ``BENTOML_HOME`` once, on import, and the service must be imported from the
packaged sources, not from the builder's.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import bentoml
from pydantic import BaseModel, Field


class BuildJob(BaseModel):
    """Content for the store at ``BENTOML_HOME``."""

    version: str = Field(description="Version of the release, and of the Bento and its model.")
    package: Path = Field(description="Folder with weights, card, indexes, reports.")
    sources: Path = Field(description="Folder with the service's sources.")
    requirements: list[str] = Field(description="Requirements with exact versions.")
    hashed: list[str] = Field(description="The same with hashes of their files; empty if hashes are not available.")
    labels: dict[str, str]
    description: str = Field(description="Markdown for the page of the running service.")


def put(job: BuildJob) -> None:
    """Import the package as ``entityclip-model:VERSION``, then build ``entityclip-service:VERSION`` on it."""
    tag = f"entityclip-model:{job.version}"
    with bentoml.models.create(tag, labels=job.labels) as model:
        shutil.copytree(job.package, model.path, dirs_exist_ok=True)
    bento = bentoml.build(
        "bentos.service:EntityClip",
        # Not "entityclip": BentoML tries to import a module of that name before it looks into the store, and an
        # installed entityclip would then be served in place of the Bento's own.
        name="entityclip-service",
        version=job.version,
        build_ctx=str(job.sources),
        labels=job.labels,
        description=job.description,
        args={"model": tag},
        docker={"python_version": f"{sys.version_info.major}.{sys.version_info.minor}"},
        # Already locked: BentoML's own lock would query a registry and has no hashes.
        python={"packages": job.requirements, "lock_packages": False},
    )
    if job.hashed:  # replaces BentoML's own list, which adds bentoml without a hash
        wanted = Path(bento.path_of("env/python/requirements.txt"))
        wanted.write_text("\n".join(["--require-hashes", *job.hashed, ""]), encoding="utf-8")


if __name__ == "__main__":
    put(BuildJob.model_validate_json(sys.stdin.read()))
