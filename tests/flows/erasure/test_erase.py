"""Erasure, end to end on real Git, DVC and SQLite: what is erased is nowhere, searched byte by byte."""

from __future__ import annotations

import gc
import hashlib
import json
import os
from pathlib import Path
from typing import Any

import pytest
from dvc.repo import Repo
from person import (
    ALIAS,
    NAME,
    NEEDLES,
    PERSON,
    PICTURES,
    SHAS,
    entity_request,
    person_data,
    portrait,
    traces,
)
from typer.testing import CliRunner

from bentos.middleware import keys
from bentos.runtime.feedback import Feedback, Spool
from entityclip.data import pairs
from entityclip.data.erasure import ErasureRequest, Subject, read_erasures
from entityclip.errors import ConfigError, DataError, WorkspaceError
from entityclip.explanations.ledger import Ledger
from entityclip.paths import ChangesLayout, Layout
from entityclip.retrieval.index import Changes
from entityclip.schemas import EntityEntry
from flows.cli.forget import forget
from flows.erasure.erase import erase, preview
from flows.erasure.survey import feedback_rows
from flows.feedback import ingest_feedback
from flows.workspace.dvc_hashes import folder_hash, pointer_hash
from flows.workspace.repository import Repository
from flows.workspace.triggers import due
from flows.workspace.versions import version_data

pytestmark = pytest.mark.slow


# ---------------------------------------------------------------- the whole way
def test_a_dry_run_names_every_place_and_changes_nothing(filled: Layout) -> None:
    gc.collect()  # closes the databases, which merges their logs
    before, head = traces(filled.root, NEEDLES), Repository(filled.root).git("rev-parse", "HEAD")
    found = {line.place.split()[0]: line for line in preview(filled, entity_request()).found}
    assert {"data/", "DVC", "feedback", "changed", "ledger.sqlite", "samples", "Git", ".entityclip/"} <= found.keys()
    assert found["feedback"].count == found["ledger.sqlite"].count == 1
    gc.collect()
    assert (traces(filled.root, NEEDLES), Repository(filled.root).git("rev-parse", "HEAD")) == (before, head)


@pytest.mark.parametrize(
    "request_",
    [
        ErasureRequest(kind="entity", value=PERSON),
        ErasureRequest(kind="entity", value="山田花子"),
        ErasureRequest(kind="text", value=" 山田花子"),
        ErasureRequest(kind="text", value="HANAKO@example.jp"),
    ],
    ids=["entity id", "entity name", "name", "e-mail"],
)
def test_after_an_erasure_no_byte_of_it_is_left_and_others_stay(filled: Layout, request_: ErasureRequest) -> None:
    first = next(iter(Repository(filled.root).git("log", "--format=%H", "--reverse", "--", "data.dvc").splitlines()))
    without_her = pointer_hash(Repository(filled.root).committed(filled.data_dvc, commit=first) or "")
    done = erase(filled, request_, by="ana")
    assert done.erased
    assert traces(filled.root, NEEDLES) == []
    assert [row["entity"] for row in pairs.iter_rows(filled.data.entities)].count("KX-RED") == 1
    assert len(pairs.read_frame(filled.data.pairs)) == 28
    assert pointer_hash(filled.data_dvc.read_text()) == folder_hash(filled.data.root)
    with Repo(str(filled.root)) as repo:
        assert not repo.status(targets=[str(filled.data_dvc)])
        assert repo.cache.local.exists(without_her), "a version that never held her stays"
        assert repo.cloud.get_remote_odb("workspace").exists(without_her)
    with Ledger(filled.ledger) as ledger:
        assert len(ledger) == 1
    assert [judged.entity for _, judged in Spool(filled.service.feedback).read()] == ["KX-RED"]
    assert "A red disc." in filled.reviews.read_text()
    assert Repository(filled.root).git("status", "--porcelain") == ""
    (note,) = due(filled)
    assert note.cause == "data"
    (record,) = read_erasures(filled.erasures)
    assert (record.by, record.finished is not None, len(record.versions)) == ("ana", True, 2)
    assert preview(filled, request_).found == ()
    assert erase(filled, request_, by="ana").found == ()
    assert len(read_erasures(filled.erasures)) == 1


def test_a_picture_goes_from_every_version_and_its_entity_stays(filled: Layout) -> None:
    pair_id = pairs.pair_id(SHAS[1], NAME, NAME)
    changes = Changes(ChangesLayout(filled.service.entities), fingerprint="f")
    entry = EntityEntry(entity="KX-NEW")
    shown = [portrait(8), PICTURES[1]]
    changes.put(pairs.entity_id("KX-NEW"), entry, pictures=shown, keep_pictures=False, vectors={})
    erase(filled, ErasureRequest(kind="picture", value=pair_id), by="ana")
    assert traces(filled.root, [PICTURES[1], SHAS[1].encode()]) == []
    added = {change.entity_id: len(change.pictures) for change in changes.since(0, dim=1) if change.entry}
    assert added == {PERSON: 1, pairs.entity_id("KX-NEW"): 1}
    left = pairs.read_frame(filled.data.pairs)
    assert list(left.loc[left["entity_id"] == PERSON, "image_sha256"]) == [SHAS[0]]
    assert NAME in filled.reviews.read_text()


def test_feedback_that_became_data_is_erased_too(filled: Layout, tmp_path: Path) -> None:
    Spool(filled.service.feedback).put(
        Feedback(release="v1", key="k", verdict="missing", entity_id="", entity="KX-RED", picture=portrait(9))
    )
    ingest_feedback.fn(filled, filled.service)
    assert (filled.feedback.root / "pictures" / SHAS[2]).exists()
    erase(filled, entity_request(), by="ana")
    assert traces(filled.root, NEEDLES) == []
    left = {hashlib.sha256(portrait(number)).hexdigest() for number in (8, 9)}  # of KX-NEW and KX-RED
    assert {path.name for path in (filled.feedback.root / "pictures").iterdir()} == left
    assert [row["entity_id"] for row in feedback_rows(filled.feedback.products)] == [pairs.entity_id("KX-NEW")]
    assert "KX-RED" in filled.feedback.judged.read_text()


def put_product(layout: Layout, name: str, text: str, *, picture: bytes, key: str = "") -> None:
    changes = Changes(ChangesLayout(layout.service.entities), fingerprint="f")
    entry = EntityEntry(entity=name, explanations=(text,))
    changes.put(pairs.entity_id(name), entry, pictures=[picture], keep_pictures=True, vectors={}, key=key)


def test_product_of_the_service_goes_with_its_photographs_by_its_text(workspace: Layout) -> None:
    version_data(workspace, person_data(workspace.root.with_name("data"), pictures=0), message="Data")
    put_product(workspace, "KX-TV", 'Has a 24" display\nof oak.', picture=portrait(3))
    put_product(workspace, "KX-NEW", "It is new.", picture=portrait(4))
    workspace.config.write_text("feedback: {keep_words: true}\n")
    about = {"release": "v1", "verdict": "missing", "entity_id": pairs.entity_id("KX-RED"), "entity": "KX-RED"}
    for key in ("ana", "ben"):
        Spool(workspace.service.feedback).put(Feedback(key=key, text='thin 24" display of oak', **about))
    assert ingest_feedback.fn(workspace, workspace.service).names == 1
    erase(workspace, ErasureRequest(kind="text", value='24" DISPLAY of oak'), by="ana")
    sha = hashlib.sha256(portrait(3)).hexdigest()
    assert traces(workspace.root, [portrait(3), sha.encode(), b"KX-TV"]) == []
    assert [row["entity"] for row in feedback_rows(workspace.feedback.products)] == ["KX-NEW"]
    assert len(list(feedback_rows(workspace.feedback.product_pictures))) == 1
    assert list(feedback_rows(workspace.feedback.names)) == []
    assert list(feedback_rows(workspace.feedback.judged)) == []


def test_name_of_a_person_who_gave_rows_leaves_them_and_does_not_return(workspace: Layout) -> None:
    ana, ben = (keys.make(workspace.service.keys, name=name).split("_")[1] for name in ("Ana Tanaka", "Ben"))
    data = person_data(workspace.root.with_name("data"), pictures=0)
    rows = [row | {"person": "Ana Tanaka, Ben", "reason": "feedback: right"} for row in pairs.iter_rows(data.pairs)]
    writer = pairs.PairsWriter(data.pairs)
    for row in rows:
        writer.add(row)
    writer.close()
    version_data(workspace, data, message="Data")
    put_product(workspace, "KX-BANANA", "Banana of Ana.", picture=portrait(3), key=ana)
    ingest_feedback.fn(workspace, workspace.service)
    erase(workspace, ErasureRequest(kind="person", value="Ana"), by="cy")
    left = pairs.read_frame(workspace.data.pairs)
    assert (len(left), set(left["person"])) == (len(rows), {"Ben"})
    (product,) = feedback_rows(workspace.feedback.products)
    assert (product["entity"], product["person"]) == ("KX-BANANA", "")
    red = {"release": "v1", "verdict": "right", "entity_id": pairs.entity_id("KX-RED"), "entity": "KX-RED"}
    for key in (ana, ben):
        Spool(workspace.service.feedback).put(Feedback(**red, key=key, picture=portrait(5)))
    ingest_feedback.fn(workspace, workspace.service)
    assert [row["person"] for row in feedback_rows(workspace.feedback.table)] == ["Ben"]
    left_over = preview(workspace, ErasureRequest(kind="person", value="Ana")).found
    assert [(line.what, line.left) for line in left_over] == [("commit messages", True)]


def test_text_search_does_not_follow_the_names_of_people_who_gave_rows() -> None:
    subject = Subject(ErasureRequest(kind="text", value="Ana"))
    given = {"entity_id": "1", "entity": "KX-RED", "aliases": [], "person": "Ana, Ben", "reviewer": "Ana"}
    assert not subject.about(given)
    assert subject.unnamed(given) == given | {"person": "Ben", "reviewer": ""}
    other = given | {"person": "Banana", "reviewer": "Joana"}
    assert subject.unnamed(other) == other


def test_environment_of_git_leads_nowhere_else(filled: Layout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "elsewhere"))
    monkeypatch.setenv("GIT_INDEX_FILE", str(tmp_path / "index"))
    assert erase(filled, entity_request(), by="ana").erased
    del os.environ["GIT_DIR"], os.environ["GIT_INDEX_FILE"]
    assert traces(filled.root, NEEDLES) == []


# ---------------------------------------------------------------- the source, the record
def test_a_source_that_still_has_the_row_brings_nothing_back(filled: Layout, tmp_path: Path) -> None:
    from entityclip.data.ingest import ingest
    from entityclip.data.sources.erased import without_erased
    from entityclip.data.sources.table import TableSource

    for number, picture in enumerate((*PICTURES, portrait(7))):
        (tmp_path / f"{number}.jpg").write_bytes(picture)
    rows = [(0, NAME), (1, NAME), (3, "KX-RED")]
    lines = "".join(f"{number}.jpg,{name}\n" for number, name in rows)
    (tmp_path / "pictures.csv").write_text(f"file,entity\n{lines}", encoding="utf-8")
    source = TableSource(tmp_path)
    assert without_erased(source, ()) is source
    erase(filled, entity_request(), by="ana")
    kept = without_erased(source, read_erasures(filled.erasures))
    assert kept.fingerprint() != source.fingerprint()
    report = ingest(kept, staging=filled.staging, rejected=filled.rejected("c"), progress=False)
    assert report.pairs == 1
    rejected = filled.rejected("c").read_text(encoding="utf-8")
    assert rejected.count("erased at a request on") == 2
    assert NAME not in rejected
    assert traces(filled.root, NEEDLES[:3]) == []


def test_the_record_holds_no_personal_data_and_a_damaged_one_stops_the_next_run(filled: Layout) -> None:
    erase(filled, ErasureRequest(kind="text", value=ALIAS), by="ana")
    (path,) = filled.erasures.glob("*.json")
    text = path.read_text()
    for personal in (NAME, ALIAS, PERSON, *SHAS, hashlib.sha256(ALIAS.encode()).hexdigest()):
        assert personal not in text
    path.write_text(text[:100])
    with pytest.raises(DataError, match=r"damaged.*git checkout HEAD"):
        read_erasures(filled.erasures)


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({}, "exactly one of"),
        ({"entity": "a", "text": "bcd"}, "exactly one of"),
        ({"text": "ab"}, "too short"),
        ({"text": "花"}, "too short"),
        ({"entity": "  "}, "is empty"),
    ],
)
def test_an_incomplete_request_is_refused(given: dict[str, str], reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        ErasureRequest.of(**{"entity": None, "picture": None, "text": None} | given)


def test_rubbish_and_a_folder_that_is_no_workspace(filled: Layout, tmp_path: Path) -> None:
    for value in ("no such thing", "../../etc/passwd", "'; DROP TABLE answers; --", "[.*", "🙂🙂🙂"):
        assert preview(filled, ErasureRequest(kind="entity", value=value)).found == ()
        assert preview(filled, ErasureRequest(kind="text", value=value)).found == ()
    with pytest.raises(WorkspaceError, match="not a workspace"):
        preview(Layout(tmp_path / "nowhere"), entity_request())


def test_files_of_the_user_in_git_are_named_and_left(filled: Layout) -> None:
    (filled.root / "NOTES.md").write_text(f"call {NAME}\n")
    repository = Repository(filled.root)
    repository.commit("Notes", [filled.root / "NOTES.md"])
    (line,) = [line for line in erase(filled, entity_request(), by="ana").found if line.left]
    assert (line.place, line.what) == ("Git, other files", "NOTES.md")
    assert NAME in (filled.root / "NOTES.md").read_text()
    assert traces(filled.root, [ALIAS.encode(), *PICTURES]) == []


# ---------------------------------------------------------------- the command
def command(*arguments: object) -> Any:
    import typer

    app = typer.Typer()
    app.command()(forget)
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_the_command_shows_first_and_erases_with_yes(filled: Layout) -> None:
    shown = command("--workspace", filled.root, "--text", NAME, "--json")
    assert shown.exit_code == 0, shown.output
    assert "Nothing was changed; --yes erases it." in shown.stdout
    assert json.loads(shown.stdout.splitlines()[-1])["erased"] is False
    done = command("--workspace", filled.root, "--text", NAME, "--yes", "--json", "--by", "ana")
    assert json.loads(done.stdout.splitlines()[-1])["erased"] is True
    assert "Not reached from here: your source" in done.stdout
    again = command("--workspace", filled.root, "--text", NAME, "--yes")
    assert "Nothing in this workspace holds it." in again.stdout
