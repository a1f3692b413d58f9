"""Published news sets in the layouts in which they are published: N24News, VisualNews, GoodNews.

The picture of each article is an entity, named by its caption, a whole sentence. Lists assign articles to splits;
explanations are in files beside the lists.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

from entityclip.data.sources.base import EntityRow, PictureRow, read_picture, stamp
from entityclip.data.sources.json_stream import JsonList, json_object, kind
from entityclip.data.sources.table_files import Row, as_text
from entityclip.errors import ConfigError, ImageError, SourceError
from entityclip.schemas import Rejection, Split


@dataclass(frozen=True)
class NewsLayout:
    """Files of a data set, relative to its folder; ``{split}`` is its own name of the split."""

    lists: str
    explanations: str
    pictures: str
    """Folder of the pictures."""
    picture: str
    """A picture's name below that folder, from the fields of its article."""
    identity: str
    """Field that tells an article's picture from all others."""
    caption: str
    category: str = ""
    broken: str = ""
    """List of pictures that cannot be used, one a line."""
    val: str = "val"
    """The data set's word for val."""

    def splits(self) -> dict[Split, str]:
        """Our name of a split -> the data set's. Test and validation come before training."""
        return {"test": "test", "val": self.val, "train": "train"}


LAYOUTS = {
    "n24news": NewsLayout(
        lists="news/nytimes_{split}.json",
        explanations="news/CapDsc_mistral_{split}.json",
        pictures="imgs",
        picture="{image_id}.jpg",
        identity="image_id",
        caption="caption",
        category="section",
        val="dev",
    ),
    "visualnews": NewsLayout(
        lists="{split}.json",
        explanations="CapDsc_mistral_{split}.json",
        pictures="images",
        picture="{image_path}",
        identity="id",
        caption="caption",
        category="topic",
    ),
    "goodnews": NewsLayout(
        lists="new_goodnews_capim_{split}.json",
        explanations="train_cap_individual/New_Corr_CapDsc_mistral_{split}.json",
        pictures="images",
        picture="{image_id}",
        identity="image_id",
        caption="captioning",
        broken="broken_images.txt",
    ),
}
"""Name of the source -> its layout."""


class NewsSource:
    """Reads the data set called ``name`` from ``path``; a split without its list is left out.

    Pictures that no list names are ignored. An article whose picture is missing, listed as broken or unusable is
    rejected.

    Raises:
        ConfigError: The name is unknown.
        SourceError: ``path`` does not contain the data set, or one of its lists is not JSON.
    """

    language = "en"

    def __init__(self, path: Path, *, name: str) -> None:
        if name not in LAYOUTS:
            raise ConfigError(f"news data set {name!r} is unknown; known are {', '.join(LAYOUTS)}")
        self.name, self._layout, self._root = name, LAYOUTS[name], path.resolve()
        self._pictures = (self._root / self._layout.pictures).resolve()  # often a link to another disk
        files = {split: self._root / self._layout.lists.format(split=word) for split, word in self._words()}
        self._lists = {split: JsonList(file) for split, file in files.items() if file.is_file()}
        if not self._lists or not self._pictures.is_dir():
            lists = ", ".join(file.relative_to(self._root).as_posix() for file in files.values())
            raise SourceError(f"{path}: expected {name}: the folder {self._layout.pictures}/ and {lists}")
        for articles in self._lists.values():
            if len(articles):
                articles.require_column(self._layout.identity)
                articles.require_column(self._layout.caption)

    def _words(self) -> list[tuple[Split, str]]:
        return list(self._layout.splits().items())

    def _explanations(self, split: Split) -> Path:
        return self._root / self._layout.explanations.format(split=self._layout.splits()[split])

    def __len__(self) -> int:
        return sum(map(len, self._lists.values()))

    def fingerprint(self) -> str:
        """Hash of the lists, explanations and broken list, and of path, size and time of every picture."""
        h = hashlib.sha256(f"{self.name}\n{self._layout}\n".encode())
        files = [articles.path for articles in self._lists.values()]
        files += [self._explanations(split) for split in self._lists]
        files += [self._root / self._layout.broken] if self._layout.broken else []
        for file in filter(Path.is_file, files):
            with file.open("rb") as stream:
                h.update(f"{file.relative_to(self._root)}\n".encode())
                h.update(hashlib.file_digest(stream, "sha256").digest())
        for articles in self._lists.values():
            for row in articles.rows():
                if not isinstance(row, Rejection):
                    h.update(stamp(self._pictures, self._name_of(row[1])).encode())
        return h.hexdigest()

    def entities(self) -> Iterator[EntityRow | Rejection]:
        """Empty: entities come from the pictures."""
        return iter(())

    def pictures(self) -> Iterator[PictureRow | Rejection]:
        """Articles of test, val and train, in the order of their lists; the row number is the position there.

        A repeated article is rejected, so that no test article is trained on.
        """
        broken, seen = self._broken(), set[str]()
        for split, articles in self._lists.items():
            with closing(_Explanations()) as explanations:
                yield from self._read(explanations, split)
                for row in articles.rows():
                    picture = row if isinstance(row, Rejection) else self._picture(row, split, seen=seen, broken=broken)
                    if isinstance(picture, Rejection):
                        yield picture
                    else:
                        seen.add(picture.key)
                        yield from self._explained(picture, explanations, split)

    def _picture(
        self, row: tuple[int, Row], split: Split, *, seen: set[str], broken: set[str]
    ) -> PictureRow | Rejection:
        number, cells = row
        name, key = self._name_of(cells), f"{self.name}:{_cell(cells, self._layout.identity)}"
        file = f"{self._layout.pictures}/{name}"
        caption = " ".join(_cell(cells, self._layout.caption).split())  # GoodNews breaks lines within captions
        if fault := self._fault(cells, listed_broken=name in broken, again=key in seen):
            return Rejection(file=file, row=number, reason=fault)
        try:
            data = read_picture(self._pictures, name)
        except ImageError as error:
            return Rejection(file=file, row=number, reason=error.reason)
        category = _cell(cells, self._layout.category)
        return PictureRow(
            file=file, row=number, data=data, caption=caption, entity=caption, key=key, category=category, split=split
        )

    def _fault(self, cells: Row, *, listed_broken: bool, again: bool) -> str:
        """Why an article cannot be used regardless of its picture; empty if it can."""
        layout, identity = self._layout, _cell(cells, self._layout.identity)
        if not identity:
            return f"no {layout.identity}"
        if not _cell(cells, layout.caption):
            return f"empty {layout.caption}"
        if listed_broken:
            return f"listed in {layout.broken}"
        if again:
            return f"{layout.identity} {identity} came before; it counts once: in test, else in val, else in train"
        return ""

    def _name_of(self, cells: Row) -> str:
        """Path of the picture below the picture folder."""
        fields = {field: _cell(cells, field) for field in ("image_id", "image_path")}
        name = "/".join(_parts(self._layout.picture.format(**fields)))
        return name.removeprefix(f"{self._layout.pictures}/")

    def _broken(self) -> set[str]:
        """Names, without folders, of the pictures that the data set lists as broken."""
        file = self._root / self._layout.broken
        lines = file.read_text(encoding="utf-8", errors="replace").splitlines() if file.is_file() else []
        return {parts[-1] for line in lines if (parts := _parts(line.strip()))}

    # ------------------------------------------------------------ explanations
    def _read(self, explanations: _Explanations, split: Split) -> Iterator[Rejection]:
        """Fill ``explanations`` with those of a split; a faulty one does not reject its picture."""
        file = self._explanations(split)
        if not file.is_file():
            yield self._left_out(split, "no such file, so no picture of this split has one")
            return
        for key, text in json_object(file):
            if isinstance(text, str):
                explanations.add(key, as_text(text))
            else:
                yield self._left_out(split, f"{as_text(key)[:200]!r}: expected a text, found {kind(text)}")

    def _explained(
        self, picture: PictureRow, explanations: _Explanations, split: Split
    ) -> Iterator[PictureRow | Rejection]:
        """``picture`` with its text, if it has one."""
        texts = explanations.of(picture.file.removeprefix(f"{self._layout.pictures}/"))
        if len(texts) > 1:
            yield self._left_out(split, f"{picture.file}: several, and they differ")
        yield replace(picture, explanations=texts) if len(texts) == 1 else picture

    def _left_out(self, split: Split, reason: str) -> Rejection:
        file = self._explanations(split).relative_to(self._root).as_posix()
        return Rejection(file=file, row=None, reason=f"explanation left out: {reason}")


class _Explanations:
    """Texts of one split by the path of their picture, on disk, because a million of them would fill the memory.

    A key is the path on the machine that wrote it. Only its end is compared with the path of the picture below the
    picture folder.
    """

    def __init__(self) -> None:
        self._texts = sqlite3.connect("")  # a temporary file, which SQLite removes when it is closed
        self._texts.execute("CREATE TABLE texts (backwards TEXT, text TEXT)")

    def add(self, key: str, text: str) -> None:
        """Store ``text`` under the path ``key``."""
        self._texts.execute("INSERT INTO texts VALUES (?, ?)", (_backwards(as_text(key)), text))

    def of(self, name: str) -> tuple[str, ...]:
        """The text of the picture ``name``: none, one, or two if its keys disagree."""
        # Made by the first question, since an index that grows with every text is several times slower.
        self._texts.execute("CREATE INDEX IF NOT EXISTS paths ON texts (backwards)")
        start = _backwards(name)
        query = "SELECT DISTINCT text FROM texts WHERE backwards >= ? AND backwards < ? AND text != '' LIMIT 2"
        found = self._texts.execute(query, (start, start[:-1] + "0"))  # "0" comes right after "/"
        return tuple(text for (text,) in found)

    def close(self) -> None:
        """Delete all texts."""
        self._texts.close()


def _parts(path: str) -> list[str]:
    """Folders and name, separated by slashes or backslashes, without ``.``."""
    return [part for part in path.replace("\\", "/").split("/") if part not in ("", ".")]


def _backwards(path: str) -> str:
    """``a/b/c.jpg`` as ``c.jpg/b/a/``: paths with the same end have the same start."""
    return "".join(f"{part}/" for part in reversed(_parts(path)))


def _cell(row: Row, field: str) -> str:
    return next(iter(row.get(field, ())), "")
