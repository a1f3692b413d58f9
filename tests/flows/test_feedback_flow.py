"""From the spool into the data: versioned, not lost in a crash, and seen by the next ingest."""

from __future__ import annotations

import io
import shutil
import stat
from pathlib import Path

import pytest
from tiny import tiny_data, tiny_picture

from bentos.middleware import keys
from bentos.runtime import active_release
from bentos.runtime.feedback import Feedback, Spool
from entityclip.data import pairs
from entityclip.data.ingest import ingest
from entityclip.data.sources.table import TableSource
from entityclip.data.sources.with_feedback import with_feedback
from entityclip.errors import DataError, WorkspaceError
from entityclip.paths import DataLayout, Layout, StateLayout, StoreLayout
from flows import feedback as flow
from flows.feedback import ingest_feedback, ingest_what_returned, read_judged
from flows.steps.reprocess_quarantine import contributions
from flows.workspace.repository import Repository
from flows.workspace.versions import version_data


def file_of(colour: str, number: int) -> bytes:
    file = io.BytesIO()
    tiny_picture(colour, number).save(file, format="PNG", pnginfo=None, compress_level=1)
    return file.getvalue()


def judgement(colour: str, number: int, **given: str) -> Feedback:
    name = f"KX-{colour.upper()}"
    fields = {"release": "v1.0.0", "key": "ana", "verdict": "right", "entity_id": pairs.entity_id(name), "entity": name}
    return Feedback.model_validate(fields | {"picture": file_of(colour, number)} | given)


def shop(folder: Path) -> TableSource:
    """A source with one picture of a red kettle."""
    folder.mkdir()
    (folder / "a.png").write_bytes(file_of("red", 1))
    (folder / "pictures.csv").write_text("file,entity,category\na.png,KX-RED,kettle\n")
    return TableSource(folder, name="shop")


def keys_of(layout: Layout, name: str) -> str:
    """Id of a new key of this person."""
    keys.make(layout.service.keys, name=name, scopes=("feedback",))
    return next(key.id for key in keys.read(layout.service.keys) if key.name == name)


@pytest.fixture
def spool(workspace: Layout) -> Spool:
    tiny_data(workspace.data.root)
    spool = Spool(workspace.service.feedback)
    for judged in (
        judgement("red", 5),
        judgement("blue", 6, verdict="missing"),
        judgement("green", 7, verdict="wrong"),
    ):
        spool.put(judged)
    return spool


def test_judgements_are_committed_and_pushed_before_the_spool_forgets(workspace: Layout, spool: Spool) -> None:
    gathered = ingest_feedback.fn(workspace, workspace.service)
    assert (gathered.taken, gathered.pictures, gathered.waiting) == (3, 2, 2)
    assert list(spool.read()) == []
    assert Repository(workspace.root).git("log", "-1", "--format=%s") == "Feedback: 3 judgements, 2 pictures"
    assert [row.verdict for row in read_judged(workspace.feedback.judged)] == ["right", "missing", "wrong"]
    shutil.rmtree(workspace.feedback.root)
    again = ingest_feedback.fn(workspace, workspace.service)
    assert (again.taken, again.pictures) == (0, 2)
    assert len(list((workspace.feedback.root / "pictures").iterdir())) == 2


def test_pictures_of_callers_are_closed_to_other_accounts_with_every_copy_that_dvc_keeps(
    workspace: Layout, spool: Spool
) -> None:
    ingest_feedback.fn(workspace, workspace.service)
    for folder in (workspace.feedback.root, workspace.dvc_folder / "cache", workspace.remote):
        assert stat.S_IMODE(folder.stat().st_mode) & 0o077 == 0, folder
    workspace.feedback.root.chmod(0o755)
    ingest_feedback.fn(workspace, workspace.service)
    assert stat.S_IMODE(workspace.feedback.root.stat().st_mode) == 0o700


def test_a_run_that_was_cut_off_takes_nothing_in_twice(workspace: Layout, spool: Spool, monkeypatch) -> None:
    monkeypatch.setattr(flow, "push", lambda *_: (_ for _ in ()).throw(WorkspaceError("the remote is away")))
    with pytest.raises(WorkspaceError):
        ingest_feedback.fn(workspace, workspace.service)
    assert len(list(spool.read())) == 3
    monkeypatch.undo()
    gathered = ingest_feedback.fn(workspace, workspace.service)
    assert (gathered.taken, gathered.pictures) == (0, 2)
    assert list(spool.read()) == []
    assert len(read_judged(workspace.feedback.judged)) == 3
    assert workspace.feedback_dvc.exists()


def test_the_next_ingest_has_the_rows_with_their_origin(workspace: Layout, spool: Spool, tmp_path) -> None:
    ingest_feedback.fn(workspace, workspace.service)
    source = shop(tmp_path / "shop")
    joined, staging = with_feedback(source, workspace.feedback), DataLayout(tmp_path / "staging")
    report = ingest(joined, staging=staging, rejected=tmp_path / "rejected.csv", progress=False)
    assert (report.source, report.pairs, report.rejected) == ("shop", 3, 0)
    rows = pairs.read_frame(staging.pairs)
    assert sorted(zip(rows["source"], rows["entity"], strict=True)) == [
        ("feedback", "KX-BLUE"),
        ("feedback", "KX-RED"),
        ("shop", "KX-RED"),
    ]
    assert set(rows.loc[rows["source"] == "feedback", "split"]) == {"train"}
    assert joined.fingerprint() != source.fingerprint()


def test_words_that_two_people_mean_become_another_name_in_the_next_data(workspace: Layout, tmp_path) -> None:
    tiny_data(workspace.data.root)
    workspace.config.write_text("feedback: {keep_words: true}\n")
    spool, red = Spool(workspace.service.feedback), {"picture": b"", "verdict": "missing"}
    said = ((keys_of(workspace, "Ana"), "Sunrise"), (keys_of(workspace, "Ben"), "sunrise"), ("k", "hanako@example.jp"))
    for key, words in said:
        spool.put(judgement("red", 0, key=key, text=words, **red))
    gathered = ingest_feedback.fn(workspace, workspace.service)
    assert (gathered.taken, gathered.names, gathered.pictures) == (3, 1, 0)
    assert [row.words for row in read_judged(workspace.feedback.judged)] == ["Sunrise", "sunrise", ""]
    assert "hanako" not in workspace.feedback.judged.read_text()
    source = shop(tmp_path / "shop")
    joined, staging = with_feedback(source, workspace.feedback), DataLayout(tmp_path / "staging")
    ingest(joined, staging=staging, rejected=tmp_path / "rejected.csv", progress=False)
    (entity,) = pairs.iter_rows(staging.entities)
    assert (entity["entity"], entity["category"], entity["source"]) == ("KX-RED", "kettle", "shop")
    assert entity["aliases"] == ["Sunrise"]
    assert (entity["person"], entity["reason"]) == ("Ana, Ben", "feedback: other name")
    assert entity["day"]
    assert contributions(staging) == ["From feedback: other name by Ana, Ben: 1 products"]
    assert joined.fingerprint() != source.fingerprint()
    workspace.config.write_text("{}\n")
    assert ingest_feedback.fn(workspace, workspace.service).names == 0
    assert with_feedback(source, workspace.feedback).fingerprint() != joined.fingerprint()


def test_name_alone_makes_no_entity(workspace: Layout, tmp_path) -> None:
    workspace.feedback.root.mkdir()
    columns = "entity_id,entity,words,callers,person,day,reason"
    workspace.feedback.names.write_text(f"{columns}\n{pairs.entity_id('KX-GONE')},KX-GONE,Sunset,2,Ana,2026-11-01,r\n")
    joined, staging = with_feedback(shop(tmp_path / "shop"), workspace.feedback), DataLayout(tmp_path / "staging")
    report = ingest(joined, staging=staging, rejected=tmp_path / "rejected.csv", progress=False)
    assert [row["entity"] for row in pairs.iter_rows(staging.entities)] == ["KX-RED"]
    assert report.entities == 1


def test_without_feedback_a_source_stays_itself(workspace: Layout, tmp_path) -> None:
    (tmp_path / "pictures.csv").write_text("file,entity\na.png,KX-RED\n")
    source = TableSource(tmp_path)
    assert with_feedback(source, workspace.feedback) is source


def test_clone_without_its_data_brings_them_back_first(workspace: Layout, tmp_path) -> None:
    version_data(workspace, tiny_data(tmp_path / "tiny"), message="Data")
    shutil.rmtree(workspace.data.root)
    Spool(workspace.service.feedback).put(judgement("red", 5))
    ingest_feedback.fn(workspace, workspace.service)
    (row,) = read_judged(workspace.feedback.judged)
    assert not row.new_entity


def test_before_the_first_data_version_the_spool_waits(workspace: Layout) -> None:
    (spool := Spool(workspace.service.feedback)).put(judgement("red", 5))
    assert ingest_feedback.fn(workspace, workspace.service).taken == 0
    assert len(list(spool.read())) == 1
    assert not workspace.feedback.root.exists()


def test_run_ingests_nothing_of_a_service_of_another_workspace(workspace: Layout, tmp_path, monkeypatch) -> None:
    ingested = []
    monkeypatch.setattr(flow, "ingest_feedback", lambda _, state: ingested.append(state.root))
    monkeypatch.setenv("ENTITYCLIP_STATE", str(tmp_path / "state"))
    state = StateLayout(tmp_path / "state")
    Spool(state.feedback).put(judgement("red", 5))
    packages = [StoreLayout(home).model("v1.0.0").root for home in (tmp_path / "other", workspace.bento_home)]
    for package in packages:
        state.live.write_text(active_release.Live(champion=package).model_dump_json())
        assert ingested == []
        ingest_what_returned(workspace)
    assert ingested == [state.root]


def test_an_empty_spool_leaves_no_trace(workspace: Layout) -> None:
    head = Repository(workspace.root).git("rev-parse", "HEAD")
    assert ingest_feedback.fn(workspace, workspace.service).taken == 0
    assert not workspace.feedback.root.exists()
    assert Repository(workspace.root).git("rev-parse", "HEAD") == head


def test_a_damaged_record_names_the_row(workspace: Layout) -> None:
    workspace.feedback.root.mkdir()
    workspace.feedback.judged.write_text("id,day\n1,yesterday\n")
    with pytest.raises(DataError, match=r"judged\.csv, row 1: day"):
        read_judged(workspace.feedback.judged)
