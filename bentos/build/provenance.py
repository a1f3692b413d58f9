"""Provenance of a package's model: what it was trained from, with which settings, and where.

It is an in-toto statement (version 1) with the predicate SLSA provenance (version 1), as JSON. The statement is a file
of the package, so that the signature covers it. It holds no time and no random number, so that the same release gives
the same bytes.
"""

from __future__ import annotations

import json
from typing import Any

from entityclip.model.checkpoint_card import CheckpointCard
from entityclip.schemas import PackageCard

STATEMENT = "https://in-toto.io/Statement/v1"
PREDICATE = "https://slsa.dev/provenance/v1"
BUILD_TYPE, BUILDER = "urn:entityclip:training:1", "urn:entityclip:run"


def provenance(card: PackageCard, model: CheckpointCard, *, weights: str) -> str:
    """The JSON document.

    Args:
        card: The release.
        model: Card of its model.
        weights: Path of the weights in the package.
    """
    release = card.release
    materials: list[dict[str, Any]] = [
        {"name": "workspace", "digest": {"gitCommit": release.commit}},
        {"name": "data version", "digest": {"entityclipData": release.data_hash}},
        {"name": "rules of the data", "digest": {"entityclipSuite": card.suite_hash}},
        {"name": "training code", "digest": {"entityclipCode": model.code_hash}},
        *({"name": f"weights: {name}", "digest": {"sha256": sha}} for name, sha in model.first_weights.items()),
    ]
    statement = {
        "_type": STATEMENT,
        "subject": [{"name": weights, "digest": {"sha256": model.weights_sha256}}],
        "predicateType": PREDICATE,
        "predicate": {
            "buildDefinition": {
                "buildType": BUILD_TYPE,
                "externalParameters": {"settings": model.config},
                "internalParameters": {"machine": model.machine, "libraries": model.versions},
                "resolvedDependencies": materials,
            },
            "runDetails": {"builder": {"id": BUILDER}},
        },
    }
    return json.dumps(statement, indent=1, ensure_ascii=False) + "\n"
