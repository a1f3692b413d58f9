"""Search the model that a workspace released last.

python examples/own_csv/search.py shop-search 赤いやかん
"""

from __future__ import annotations

import sys
from pathlib import Path

from entityclip import Predictor


def newest_package(workspace: Path) -> Path:
    """The package that the last run with a new model wrote."""
    packages = (workspace / ".entityclip/bentoml/models/entityclip-model").glob("v*")
    return max(packages, key=lambda package: package.stat().st_mtime)


if __name__ == "__main__":
    predictor = Predictor.load(newest_package(Path(sys.argv[1])))
    for hit in predictor.search(sys.argv[2], k=3, target="entities"):
        reason = hit.why[0]
        print(f"{hit.entity}  {hit.score:.2f}  by {reason.by} {reason.text}".rstrip())
