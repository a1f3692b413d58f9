"""Query a running service from Python.

python examples/query_service/query.py http://127.0.0.1:3000 photo.jpg

The client needs httpx and pydantic only, repeats requests if the service is busy, and takes a key from
ENTITYCLIP_KEY.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from bentos.client import Client, ServiceError


def query(url: str, picture: Path) -> None:
    """Print the tags of a picture, and what a search for the first of them finds."""
    with Client(url, key=os.environ.get("ENTITYCLIP_KEY")) as service:
        answer = service.tag(picture, k=3)
        print(f"release {answer.release}, {'unknown' if answer.unknown else 'known'}")
        for tag in answer.tags:
            print(f"{tag.entity}  {tag.confidence:.2f}")
        found = service.search(answer.tags[0].entity, k=1, target="entities").hits[0]
        print(f"found by {found.why[0].by}: {found.entity}")


if __name__ == "__main__":
    try:
        query(sys.argv[1], Path(sys.argv[2]))
    except ServiceError as error:
        sys.exit(f"{error}")
