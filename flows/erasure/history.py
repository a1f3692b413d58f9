"""Erasure in Git's history: reports that name the subject are rewritten in every commit, old objects are pruned.

Only files in ``reports/`` are rewritten, since flows write them. Other files and commit messages that name the subject
belong to the user: they are listed with a remedy.
"""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
from collections.abc import Iterable, Iterator
from typing import IO, Any

from entityclip.data.erasure import Subject
from entityclip.errors import WorkspaceError
from entityclip.paths import Layout
from entityclip.storage import atomic_write
from flows.erasure.survey import ErasureFinding
from flows.workspace.repository import Repository

MARK = "[erased]"


def history_found(layout: Layout, subject: Subject) -> list[ErasureFinding]:
    """Reports and other files in Git that name the subject."""
    reports, others = _naming(layout, subject)
    found = []
    if reports:
        files = ", ".join(sorted(set(reports.values())))
        action = f"replaced by {MARK} in every commit; later commits get new ids, tags move along"
        found.append(ErasureFinding(place="Git history", what=files, count=len(reports), action=action))
    if others:
        action = "NOT erased, the file is yours: edit it, then git filter-repo --replace-text FILE"
        what = ", ".join(sorted(others))
        found.append(ErasureFinding(place="Git, other files", what=what, count=len(others), action=action, left=True))
    return found


def _naming(layout: Layout, subject: Subject) -> tuple[dict[str, str], set[str]]:
    """Blob -> path of reports that name the subject; paths of other files that do."""
    repository = Repository(layout.root)
    listed = (line.partition(" ") for line in repository.git("rev-list", "--objects", "--all", "HEAD").splitlines())
    files = {oid: path for oid, _, path in listed if "." in path and not path.endswith((".py", ".dvc"))}
    reports: dict[str, str] = {}
    others: set[str] = set()
    for oid, content in _blobs(layout, files):
        path = files[oid]
        if not path.startswith(f"{layout.reports.name}/"):
            others |= {path} if _names(content, subject) else set()
        elif redacted(content, path, subject) != content:
            reports[oid] = path
    messages = repository.git("log", "--all", "--format=%B")
    return reports, others | ({"commit messages"} if _names(messages.encode(), subject) else set())


def _blobs(layout: Layout, oids: Iterable[str]) -> Iterator[tuple[str, bytes]]:
    """Blobs with their content, read by one process; folders are left out."""
    batch = ["git", "cat-file", "--batch"]
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(batch, cwd=layout.root, env=_environment(), **pipes) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for oid in oids:
            process.stdin.write(f"{oid}\n".encode())
            process.stdin.flush()
            _, kind, size = process.stdout.readline().split()
            content = process.stdout.read(int(size) + 1)[:-1]
            if kind == b"blob":
                yield oid, content


def _names(content: bytes, subject: Subject) -> bool:
    text = content.decode("utf-8", errors="replace")
    return any(map(subject.mentioned, text.splitlines()))


def _environment() -> dict[str, str]:
    return {**{k: v for k, v in os.environ.items() if not k.startswith("GIT_")}, "LC_ALL": "C"}


# ---------------------------------------------------------------- one file
def redacted(content: bytes, path: str, subject: Subject) -> bytes:
    """The file with JSON values and lines that name the subject replaced, and rows of tables removed.

    Of the name of a person who gave rows, cells of tables are replaced, so that the rows stay.
    """
    try:
        text = content.decode("utf-8")
        if path.endswith(".json"):
            read = json.loads(text)
            cleaned = _cleaned(read, subject)
            return content if cleaned == read else json.dumps(cleaned, ensure_ascii=False, indent=1).encode() + b"\n"
        if path.endswith(".csv"):
            return _table(content, subject)
    except (UnicodeDecodeError, ValueError, csv.Error):
        text = content.decode("utf-8", errors="replace")
    lines = [f"{MARK}\n" if subject.mentioned(line) else line for line in text.splitlines(keepends=True)]
    return "".join(lines).encode() if any(map(subject.mentioned, text.splitlines())) else content


def _cleaned(value: Any, subject: Subject) -> Any:
    if isinstance(value, str):
        return MARK if subject.mentioned(value) else value
    if isinstance(value, list):
        return [_cleaned(item, subject) for item in value]
    if isinstance(value, dict):
        return {_cleaned(key, subject): _cleaned(item, subject) for key, item in value.items()}
    return value


def _table(content: bytes, subject: Subject) -> bytes:
    rows = list(csv.reader(io.StringIO(content.decode("utf-8"), newline=""), strict=True))
    if subject.request.kind == "person":  # what a person decided or gave stays
        kept = [[MARK if subject.mentioned(cell) else cell for cell in row] for row in rows]
    else:
        kept = [row for row in rows if not any(map(subject.mentioned, row))]
    if kept == rows:
        return content
    csv.writer(stream := io.StringIO(newline=""), lineterminator="\n").writerows(kept)
    return stream.getvalue().encode()


# ---------------------------------------------------------------- the history
def rewrite(layout: Layout, subject: Subject) -> dict[str, str]:
    """Redact reports in every commit, move branches and tags along, and prune the old objects.

    Returns:
        Blob -> path of the rewritten files; empty if none names the subject.

    Raises:
        WorkspaceError: The repository is a shallow clone, or Git failed; no branch was moved.
    """
    repository = Repository(layout.root)
    reports, _ = _naming(layout, subject)
    if reports:
        if repository.git("rev-parse", "--is-shallow-repository") == "true":
            raise WorkspaceError(
                f"{layout.root}: a shallow clone cannot be rewritten; `git fetch --unshallow`, run again"
            )
        _rewrite(layout, reports, subject)
        for path in repository.git("ls-files", "--", *set(reports.values())).splitlines():
            repository.git("reset", "--quiet", "--", path)  # other staged changes stay staged
            if (file := layout.root / path).exists():
                atomic_write(file, redacted(file.read_bytes(), path, subject))
    for name in ("ORIG_HEAD", "FETCH_HEAD"):
        (layout.root / ".git" / name).unlink(missing_ok=True)
    repository.git("reflog", "expire", "--expire=now", "--expire-unreachable=now", "--all")
    repository.git("gc", "--quiet", "--prune=now")
    return reports


def _rewrite(layout: Layout, reports: dict[str, str], subject: Subject) -> None:
    """Pipe ``git fast-export`` into ``git fast-import``, with redacted content for these blobs."""
    export = ["git", "fast-export", "--all", "--show-original-ids", "--signed-tags=strip", "--reencode=no"]
    export += ["--tag-of-filtered-object=rewrite", "--use-done-feature"]
    # With the feature "done", an export that broke off makes the import fail, and no branch moves.
    how: dict[str, Any] = {"cwd": layout.root, "env": _environment(), "stderr": subprocess.PIPE}
    with (
        subprocess.Popen(export, stdout=subprocess.PIPE, **how) as source,
        subprocess.Popen(
            ["git", "fast-import", "--force", "--quiet", "--done"], stdin=subprocess.PIPE, **how
        ) as target,
    ):
        assert source.stdout is not None
        assert target.stdin is not None
        assert target.stderr is not None
        for part in _stream(source.stdout, reports, subject):
            target.stdin.write(part)
        target.stdin.close()
        reason = target.stderr.read().decode(errors="replace")
        if target.wait() != 0:
            raise WorkspaceError(f"{layout.root}: git fast-import failed: {reason[-500:]}; nothing in Git was moved")


def _stream(source: IO[bytes], reports: dict[str, str], subject: Subject) -> Iterator[bytes]:
    """The export, line by line and block by block."""
    path = ""
    for line in source:
        if line.startswith(b"original-oid "):
            path = reports.get(line.split()[1].decode(), "")
            continue
        if not line.startswith(b"data "):
            yield line
            continue
        content = source.read(int(line.split()[1]))
        if path:
            content, path = redacted(content, path, subject), ""
        yield b"data %d\n" % len(content)
        yield content
