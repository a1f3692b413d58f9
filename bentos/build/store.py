"""Puts a package and the service into a BentoML store.

Run as a program, in a process of its own: BentoML reads ``BENTOML_HOME`` once, when it is imported, and the
service must come from the sources that go into the Bento, not from wherever the builder found its own.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import bentoml
from pydantic import BaseModel, Field


class BuildJob(BaseModel):
    """What to put into the store that ``BENTOML_HOME`` names."""

    version: str = Field(description="Of the release; the Bento and its model carry it as theirs.")
    package: Path = Field(description="Folder with weights, card, indexes, reports.")
    sources: Path = Field(description="Folder with the sources that the service needs, and nothing else.")
    requirements: list[str] = Field(description="Exact versions of what the sources import.")
    hashed: list[str] = Field(description="The same with hashes of their files; empty where these cannot be had.")
    labels: dict[str, str]
    description: str = Field(description="Markdown; the page of the running service shows it.")


def put(job: BuildJob) -> None:
    """Import the package as ``entityclip-model:VERSION``, then build ``entityclip-service:VERSION`` on it."""
    tag = f"entityclip-model:{job.version}"
    with bentoml.models.create(tag, labels=job.labels) as model:
        shutil.copytree(job.package, model.path, dirs_exist_ok=True)
    bento = bentoml.build(
        "bentos.service:EntityClip",
        # Not "entityclip": asked to serve that, BentoML tries to import a module of this name before it looks into
        # the store, and an installed entityclip would then answer in place of the one in the Bento.
        name="entityclip-service",
        version=job.version,
        build_ctx=str(job.sources),
        labels=job.labels,
        description=job.description,
        args={"model": tag},
        docker={"python_version": f"{sys.version_info.major}.{sys.version_info.minor}"},
        # Locked already, by us: BentoML's own lock would ask a registry, and holds no hashes.
        python={"packages": job.requirements, "lock_packages": False},
    )
    if job.hashed:  # in place of what BentoML wrote, which names itself once more and without a hash
        wanted = Path(bento.path_of("env/python/requirements.txt"))
        wanted.write_text("\n".join(["--require-hashes", *job.hashed, ""]), encoding="utf-8")


if __name__ == "__main__":
    put(BuildJob.model_validate_json(sys.stdin.read()))
