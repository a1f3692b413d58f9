from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from entityclip.data import pairs
from entityclip.errors import DataError
from entityclip.explanations import Ledger, Requests, SourceWriter, WriterAnswer, explain, record
from entityclip.paths import DataLayout
from entityclip.schemas import ExplanationRequest

TEXTS = {
    "KX-204B": ["A red kettle with white dots.", "The kettle is red; dots cover it."],
    "KX-301": [],
    "LM-77C": ["赤いランプです。\0", "A lamp 💡 שלום."],
}


class CountingWriter(SourceWriter):
    """Writes one sentence per request and counts requests; dies after ``lives`` answers."""

    generator = "counting"

    def __init__(self, *, lives: int = 10**9, version: str = "1") -> None:
        self.requested: list[str] = []
        self.lives, self.version = lives, version

    def prompt_version(self, request: ExplanationRequest) -> str:  # noqa: ARG002
        return self.version

    def write(self, requests: Iterable[ExplanationRequest]) -> Iterator[WriterAnswer]:
        for request in requests:
            if len(self.requested) == self.lives:
                raise KeyboardInterrupt
            self.requested.append(request.entity)
            yield WriterAnswer(request=request, records=(record(request, f"About {request.caption}.", writer=self),))


@pytest.fixture
def staging(tmp_path: Path) -> DataLayout:
    data = DataLayout(tmp_path / "staging")
    pairs.start(data)
    entity = {name: pairs.entity_id(name) for name in TEXTS}
    pictures = [("KX-204B", "red kettle KX-204B"), ("KX-204B", "KX-204B"), ("LM-77C", " ")]
    pairs.write_rows(
        data.pairs, pairs.PAIRS, ({"entity_id": entity[e], "caption": c} for e, c in pictures), name="train"
    )
    rows = ({"entity_id": i, "entity": n, "language": "ja" if n == "LM-77C" else "en"} for n, i in entity.items())
    pairs.write_rows(data.entities, pairs.ENTITIES, rows, name="entities")
    languages = {"A lamp 💡 שלום.": "en", "赤いランプです。\0": "ja"}
    source_provided = (
        {"entity_id": entity[n], "text": t, "language": languages.get(t), "row": 1}
        for n, ts in TEXTS.items()
        for t in [*ts, *ts]
    )
    pairs.write_rows(data.source_provided, pairs.SOURCE_PROVIDED, source_provided, name="source_provided")
    pairs.finish(data)
    return data


def test_source_texts_become_explanations_in_the_order_of_the_entities(staging: DataLayout, tmp_path: Path) -> None:
    assert explain(staging, writer=SourceWriter(), ledger=tmp_path / "ledger.sqlite") == 4
    frame = pairs.read_frame(staging.explanations)
    assert list(frame["text"]) == [t for texts in TEXTS.values() for t in texts]
    assert list(frame["language"]) == ["en", "en", "ja", "en"]
    assert set(frame["generator"]) == {"source"}
    assert frame["explanation_id"].is_unique


def test_a_request_carries_a_caption_or_else_the_name(staging: DataLayout) -> None:
    captions = {(r.entity, r.language): r.caption for r in Requests(staging)}
    assert captions == {
        ("KX-204B", "en"): "KX-204B",
        ("KX-301", "en"): "KX-301",
        ("LM-77C", "ja"): "LM-77C",
        ("LM-77C", "en"): "LM-77C",
    }


def test_a_second_run_sends_no_request_and_writes_the_same_bytes(staging: DataLayout, tmp_path: Path) -> None:
    first, second = CountingWriter(), CountingWriter()
    explain(staging, writer=first, ledger=tmp_path / "ledger.sqlite")
    before = {p.name: p.read_bytes() for p in pairs.shards(staging.explanations)}
    explain(staging, writer=second, ledger=tmp_path / "ledger.sqlite")
    assert len(first.requested) == 4
    assert second.requested == []
    assert {p.name: p.read_bytes() for p in pairs.shards(staging.explanations)} == before


def test_what_the_writer_doubts_is_stored_with_its_text(staging: DataLayout, tmp_path: Path) -> None:
    class Doubting(CountingWriter):
        def write(self, requests: Iterable[ExplanationRequest]) -> Iterator[WriterAnswer]:
            for answer in super().write(requests):
                yield answer.model_copy(update={"doubts": ("its age", "its maker")})

    for _ in range(2):  # written, and then known from the ledger
        explain(staging, writer=Doubting(), ledger=tmp_path / "ledger.sqlite")
        assert set(pairs.read_frame(staging.explanations)["doubts"]) == {"its age; its maker"}


def test_a_request_carries_several_pictures_but_none_of_the_test_split(staging: DataLayout) -> None:
    captions = {"d": "KX-204B", "b": "red", "a": "red", "c": "red", "e": "KX-204B"}
    for path in pairs.shards(staging.pairs):
        path.unlink()
    for split, some in (("train", "bcd"), ("test", "ae")):
        about = {"entity_id": pairs.entity_id("KX-204B"), "split": split}
        rows = ({**about, "caption": captions[h], "image_sha256": h, "image": {"bytes": h.encode()}} for h in some)
        pairs.write_rows(staging.pairs, pairs.PAIRS, rows, name=split)
    requests = Requests(staging, pictures=2)
    (request,) = (one for one in requests if one.entity == "KX-204B")
    assert (request.pictures_sha256, request.picture) == (("d", "b"), None)
    assert requests.with_pictures(request).pictures == (b"d", b"b")
    assert requests.with_pictures(request).picture == b"d"


def test_an_interrupted_run_keeps_every_text_that_arrived(staging: DataLayout, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        explain(staging, writer=CountingWriter(lives=3), ledger=tmp_path / "ledger.sqlite")
    assert not staging.explanations.exists()
    rest = CountingWriter()
    assert explain(staging, writer=rest, ledger=tmp_path / "ledger.sqlite") == 4
    assert len(rest.requested) == 1


def test_another_prompt_version_sends_new_requests(staging: DataLayout, tmp_path: Path) -> None:
    explain(staging, writer=CountingWriter(), ledger=tmp_path / "ledger.sqlite")
    newer = CountingWriter(version="2")
    explain(staging, writer=newer, ledger=tmp_path / "ledger.sqlite")
    assert len(newer.requested) == 4


def test_half_written_staging_is_not_explained(staging: DataLayout, tmp_path: Path) -> None:
    staging.marker.unlink()
    with pytest.raises(DataError, match=r"complete\.json"):
        explain(staging, writer=SourceWriter(), ledger=tmp_path / "ledger.sqlite")


# ---------------------------------------------------------------- the ledger
def test_a_file_that_is_no_ledger_is_named(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    path.write_bytes(b"not a database at all" * 100)
    with pytest.raises(DataError, match=r"ledger\.sqlite.*move the file away"):
        Ledger(path)


def test_the_first_answer_to_a_request_stays(tmp_path: Path) -> None:
    writer = CountingWriter()
    request = ExplanationRequest(entity_id="e", entity="E", caption="c")
    with Ledger(tmp_path / "ledger.sqlite") as book:
        for text in ("first", "second"):
            book.keep(
                "k", WriterAnswer(request=request, records=(record(request, text, writer=writer),)), writer=writer
            )
        assert [r.text for r in book.get(["k", "other"])["k"]] == ["first"]
        assert len(book) == 1


WRITING = """
import sys
from pathlib import Path
from entityclip.explanations import WriterAnswer, SourceWriter, Ledger, record
from entityclip.schemas import ExplanationRequest
writer, request = SourceWriter(), ExplanationRequest(entity_id="e", entity="E", caption="c")
with Ledger(Path(sys.argv[1])) as book:
    for i in range(10**9):
        records = tuple(record(request, f"{i} {j}", writer=writer) for j in range(3))
        book.keep(f"{sys.argv[2]}-{i}", WriterAnswer(request=request, records=records), writer=writer)
        print(i, flush=True)
"""


@pytest.mark.slow
def test_two_writers_killed_in_the_middle_lose_nothing_that_they_had_kept(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    command = [sys.executable, "-c", WRITING, str(path)]
    writers = [subprocess.Popen([*command, name], stdout=subprocess.PIPE, text=True) for name in "ab"]
    kept = []
    for writer in writers:
        assert writer.stdout is not None
        kept.append([writer.stdout.readline().strip() for _ in range(50)])
    for writer in writers:
        os.kill(writer.pid, signal.SIGKILL)
        writer.communicate()
    with Ledger(path) as book:
        keys = [f"{name}-{i}" for name, count in zip("ab", kept, strict=True) for i in count]
        answers = book.get(keys)
        assert len(answers) == 100
        assert all(len(texts) == 3 for texts in answers.values())
