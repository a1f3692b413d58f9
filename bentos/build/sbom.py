"""Software bill of materials of a package: the model, and the libraries that serve it, as CycloneDX 1.6 JSON.

It holds no time and no random number, so that the same release gives the same bytes.
"""

from __future__ import annotations

import json
import re
from typing import Any

from entityclip.schemas import PackageCard


def sbom(card: PackageCard, requirements: list[str], *, weights_sha256: str) -> str:
    """The JSON document.

    Args:
        card: The release, with the licences of the data that it was trained on.
        requirements: ``name==version``, perhaps followed by ``--hash=sha256:...`` options.
        weights_sha256: Of the model's weights.
    """
    release = card.release
    model = {
        "type": "machine-learning-model",
        "bom-ref": f"entityclip-model@{release.version}",
        "name": "entityclip-model",
        "version": release.version,
        "hashes": [{"alg": "SHA-256", "content": weights_sha256}],
        "properties": [
            {"name": "entityclip:commit", "value": release.commit},
            {"name": "entityclip:data", "value": release.data_hash},
            {"name": "entityclip:suite", "value": card.suite_hash},
            *({"name": "entityclip:data-licence", "value": licence} for licence in card.licences),
        ],
    }
    document = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"component": model},
        "components": [_library(requirement) for requirement in requirements],
    }
    return json.dumps(document, indent=1) + "\n"


def _library(requirement: str) -> dict[str, Any]:
    """The component of one requirement, with a reference for each file of this version that the lock has a hash of."""
    name, _, version = requirement.split()[0].partition("==")
    purl = f"pkg:pypi/{name}@{version}"
    files = [
        {"type": "distribution", "url": purl, "hashes": [{"alg": "SHA-256", "content": sha256}]}
        for sha256 in re.findall(r"--hash=sha256:([0-9a-f]{64})", requirement)
    ]
    found = {"type": "library", "bom-ref": purl, "name": name, "version": version, "purl": purl}
    return found | ({"externalReferences": files} if files else {})
