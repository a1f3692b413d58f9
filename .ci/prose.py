"""Prose lint: words in documentation, docstrings, comments and messages for which there is a plainer one.

    python .ci/prose.py [FILE ...]

Text in backticks or quotation marks is code or a quotation and is not checked. Without FILE, all tracked files are.
"""

from __future__ import annotations

import ast
import io
import re
import subprocess
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path

PLAIN = {
    "anew": "again",
    "asked": "queried, requested; or name the actor",
    "asks": "queries, requests",
    "blessed": "certified",
    "blessing": "certification, serving check",
    "brought": "provided, supplied",
    "brings": "provides, supplies",
    "crowned": "promoted",
    "crowning": "promotion",
    "hitherto": "so far",
    "laid to": "attributed to",
    "nobody": "no one; better: name what is missing",
    "said": "stated; or name the source",
    "taken in": "ingested",
    "told": "reported, shown",
    "told apart": "distinguished",
    "whoever": "anyone who; better: second person",
}
"""Word -> what to write instead."""

FOLDERS = ("entityclip", "flows", "bentos", "expectations", "benchmarks", "docs", "examples", "deploy")
_WORDS = re.compile(r"\b(" + "|".join(sorted(map(re.escape, PLAIN), key=len, reverse=True)) + r")\b", re.IGNORECASE)
_CODE = re.compile(r"```.*?```|``[^`]*``|`[^`\n]*`|\"[^\"\n]*\"|“[^”]*”", re.DOTALL)


def problems(path: Path) -> Iterator[str]:
    """``FILE:LINE: word: plain word`` for each listed word in the prose of a file."""
    source = path.read_text(encoding="utf-8")
    pieces = python_prose(source) if path.suffix == ".py" else [(1, source)]
    for first, text in pieces:
        plain = _CODE.sub(lambda found: re.sub(r"[^\n]", " ", found[0]), text)
        for found in _WORDS.finditer(plain):
            line = first + plain.count("\n", 0, found.start())
            yield f"{path}:{line}: {found[0]!r}: write {PLAIN[found[0].lower()]}"


def python_prose(source: str) -> Iterator[tuple[int, str]]:
    """First line and text of every comment, and of every string that holds a space."""
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], token.string
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and " " in node.value:
            yield node.lineno, node.value


def tracked() -> list[Path]:
    """Python, Markdown, YAML and templates under version control, in ``FOLDERS`` and at the top."""
    listed = subprocess.run(["git", "ls-files"], capture_output=True, text=True, check=True).stdout.splitlines()
    files = [path for line in listed if (path := Path(line)).is_file()]
    kinds = {".py", ".md", ".yaml", ".yml", ".j2", ".jinja", ".toml"}
    return [path for path in files if path.suffix in kinds and (path.parts[0] in FOLDERS or len(path.parts) == 1)]


if __name__ == "__main__":
    files = [Path(name) for name in sys.argv[1:]] or tracked()
    found = [problem for path in files for problem in problems(path)]
    print("\n".join(found) or f"{len(files)} files: no word of the list")
    sys.exit(bool(found))
