"""The Grocery Store data set: real photographs of 81 products with a human-written description each (MIT licence).

Klasson, Zhang, Kjellström: A Hierarchical Grocery Store Image Dataset with Visual and Semantic Labels, WACV 2019.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

from entityclip.data.sources.base import EntityRow, PictureRow, read_picture, stamp
from entityclip.data.sources.table_files import Row, open_table
from entityclip.errors import ImageError, SourceError
from entityclip.schemas import Rejection, Split
from entityclip.storage import atomic_path

REPOSITORY = "https://github.com/marcusklasson/GroceryStoreDataset"
FETCH_SECONDS = 1800

_NAME, _GROUP, _ID = "Class Name (str)", "Coarse Class Name (str)", "Class ID (int)"
_DESCRIPTION = "Product Description Path (str)"


class GrocerySource:
    """Reads the published layout; a split without its list is left out.

    The name of a product is its entity and its caption. Iconic pictures are not photographs and are left out.

    Raises:
        SourceError: ``path`` does not contain the data set.
    """

    name, language = "grocery", "en"

    def __init__(self, path: Path) -> None:
        self._root = (path / "dataset" if (path / "dataset").is_dir() else path).resolve()
        self._lists = {split: self._root / f"{split}.txt" for split in get_args(Split)}
        self._lists = {split: file for split, file in self._lists.items() if file.is_file()}
        if not self._lists:
            raise SourceError(f"{self._root}: expected the Grocery Store data set: classes.csv, train.txt, val.txt ...")
        self._classes = open_table(self._root / "classes.csv")
        for column in (_NAME, _GROUP, _ID, _DESCRIPTION):
            self._classes.require_column(column)

    def __len__(self) -> int:
        return sum(1 for _ in self._listed())

    def fingerprint(self) -> str:
        """Hash of the lists, the classes, and path, size and time of every picture and description."""
        h = hashlib.sha256()
        for file in (self._classes.path, *self._lists.values()):
            h.update(hashlib.sha256(file.read_bytes()).digest())
        for _, _, line in self._listed():
            h.update(stamp(self._root, line.split(",")[0]).encode())
        for _, row in self._class_rows():
            h.update(stamp(self._root, _cell(row, _DESCRIPTION).lstrip("/")).encode())
        return h.hexdigest()

    def entities(self) -> Iterator[EntityRow | Rejection]:
        """The products with their descriptions."""
        for number, row in self._class_rows():
            file = _cell(row, _DESCRIPTION).lstrip("/")
            texts: tuple[str, ...] = ()
            try:
                texts = (read_picture(self._root, file).decode("utf-8"),)
            except (ImageError, UnicodeDecodeError) as error:
                yield Rejection(file=file, row=number, reason=f"the description is left out: {error}")
            yield EntityRow(
                entity=_words(_cell(row, _NAME)),
                row=number,
                category=_words(_cell(row, _GROUP)),
                licence="MIT",
                explanations=texts,
            )

    def pictures(self) -> Iterator[PictureRow | Rejection]:
        """Photographs of train, val and test; the row number is the line in the list of the split."""
        classes = {_cell(row, _ID): row for _, row in self._class_rows()}
        for split, number, line in self._listed():
            parts = [part.strip() for part in line.split(",")]
            if len(parts) != 3 or parts[1] not in classes:
                reason = f"{line!r}; expected 'path, class, group' with a class of classes.csv"
                yield Rejection(file=self._lists[split].name, row=number, reason=reason)
                continue
            try:
                data = read_picture(self._root, parts[0])
            except ImageError as error:
                yield Rejection(file=parts[0], row=number, reason=error.reason)
                continue
            yield _picture(parts[0], row=number, data=data, product=classes[parts[1]], split=split)

    def _listed(self) -> Iterator[tuple[Split, int, str]]:
        for split, file in self._lists.items():
            for number, line in enumerate(file.read_text(encoding="utf-8", errors="replace").splitlines(), start=1):
                yield split, number, line

    def _class_rows(self) -> Iterator[tuple[int, Row]]:
        for row in self._classes.rows():
            if isinstance(row, Rejection):
                raise SourceError(f"{self._classes.path}: row {row.row}: {row.reason}; fetch the data set again")
            yield row


def _picture(file: str, *, row: int, data: bytes, product: Row, split: Split) -> PictureRow:
    name = _words(_cell(product, _NAME))
    return PictureRow(
        file=file,
        row=row,
        data=data,
        caption=name,
        entity=name,
        category=_words(_cell(product, _GROUP)),
        licence="MIT",
        split=split,
    )


def _cell(row: Row, column: str) -> str:
    return next(iter(row[column]), "")


def _words(name: str) -> str:
    return name.replace("-", " ")


def fetch(folder: Path, *, repository: str = REPOSITORY, timeout: float = FETCH_SECONDS) -> Path:
    """The data set in ``folder``; if it is missing, it is fetched from its public Git repository with ``dvc get``.

    Raises:
        SourceError: DVC is not installed, the repository cannot be reached, or ``timeout`` seconds have passed.
    """
    if folder.is_dir():
        return folder
    dvc = shutil.which("dvc", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]))
    advice = f"fetch {repository} yourself and name its folder 'dataset' as the source's path"
    if dvc is None:
        raise SourceError(f"grocery: the command 'dvc' was not found; install entityclip[platform], or {advice}")
    # Without this, Git would ask for a password in the middle of a run when the repository is gone.
    environment = os.environ | {"GIT_TERMINAL_PROMPT": "0"}
    try:
        with atomic_path(folder) as temporary:
            command = [dvc, "get", repository, "dataset", "--out", str(temporary)]
            subprocess.run(command, check=True, capture_output=True, text=True, timeout=timeout, env=environment)
    except subprocess.TimeoutExpired:
        raise SourceError(f"grocery: {repository} did not arrive within {timeout:.0f} s; {advice}") from None
    except subprocess.CalledProcessError as error:
        raise SourceError(f"grocery: dvc get {repository} failed: {_last_line(error.stderr)}; {advice}") from None
    return folder


def _last_line(text: str) -> str:
    return next(reversed(text.strip().splitlines()), "no output")
