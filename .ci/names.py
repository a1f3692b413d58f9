"""Ambiguous names: a file name that occurs too often, or a class name that is defined twice.

python .ci/names.py
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections import Counter, defaultdict
from pathlib import Path

MOST_FILES = 3
"""Files of one name, but for ``FREE``."""
FREE = {"__init__.py", "__main__.py", "config.py", "conftest.py", "feedback.py"}
PACKAGES = ("entityclip", "flows", "bentos", "expectations", "benchmarks")


def tracked(*patterns: str) -> list[Path]:
    """Files under version control that match."""
    found = subprocess.run(["git", "ls-files", *patterns], capture_output=True, text=True, check=True)
    return [path for line in found.stdout.splitlines() if (path := Path(line)).is_file()]


def crowded_names(files: list[Path]) -> list[str]:
    """A line for each file name that occurs more than ``MOST_FILES`` times."""
    counts = Counter(path.name for path in files if path.name not in FREE)
    return [f"{name}: {count} files, at most {MOST_FILES}" for name, count in counts.items() if count > MOST_FILES]


def repeated_classes(files: list[Path]) -> list[str]:
    """A line for each class name that is defined in two places."""
    places: dict[str, list[str]] = defaultdict(list)
    for path in files:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef):
                places[node.name].append(f"{path}:{node.lineno}")
    return [f"class {name}: {', '.join(where)}" for name, where in places.items() if len(where) > 1]


if __name__ == "__main__":
    sources = [path for path in tracked("*.py") if path.parts[0] in PACKAGES]
    problems = crowded_names(tracked("*.py")) + repeated_classes(sources)
    print("\n".join(problems) or f"{len(sources)} files: every class has a name of its own")
    sys.exit(bool(problems))
