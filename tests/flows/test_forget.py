"""Erasure, end to end on real Git, DVC and SQLite: what is erased is nowhere, searched byte by byte."""

from __future__ import annotations

import gc
import hashlib
import io
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from dvc.repo import Repo
from PIL import Image
from tiny import tiny_data, tiny_model
from typer.testing import CliRunner

from bentos.runtime.feedback import Feedback, Spool
from bentos.runtime.samples import Samples
from entityclip.data import pairs
from entityclip.data.erasure import ErasureRequest, read_erasures
from entityclip.errors import Busy, ConfigError, DataError, WorkspaceError
from entityclip.evaluation.evaluate import evaluate
from entityclip.explanations.ledger import Ledger
from entityclip.explanations.source_writer import WriterAnswer
from entityclip.paths import ChangesLayout, CheckpointLayout, DataLayout, Layout
from entityclip.quality.review import Review, add_reviews
from entityclip.retrieval.index import Changes
from entityclip.schemas import EntityEntry, ExplanationRecord, ExplanationRequest, PromotionDecision
from flows.cli.forget import forget
from flows.erasure import erase as erasing
from flows.erasure.erase import erase, preview
from flows.feedback import ingest_feedback
from flows.steps.deploy_release import go_live, packaged, served_package
from flows.steps.rollback import roll_back
from flows.workspace.dvc_hashes import folder_hash, pointer_hash
from flows.workspace.locks import workspace_lock
from flows.workspace.registry import assign_champion, champion, history, versions
from flows.workspace.repository import Repository
from flows.workspace.triggers import due
from flows.workspace.versions import release, version_data

NAME, ALIAS = "山田花子", "hanako@example.jp"
TEXT = f"{NAME}の肖像。連絡先は{ALIAS}です。"
PERSON = pairs.entity_id(NAME)
Decided = Callable[..., PromotionDecision]


def portrait(number: int) -> bytes:
    noise = np.random.default_rng(1000 + number).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    Image.fromarray(noise).save(file := io.BytesIO(), "JPEG", quality=95)
    return file.getvalue()


PICTURES = [portrait(number) for number in range(3)]
SHAS = [hashlib.sha256(picture).hexdigest() for picture in PICTURES]


def person_data(root: Path, *, pictures: int, held_out: int = 1) -> DataLayout:
    """The tiny data, and so many pictures of a person with a text about her."""
    before, data = tiny_data(root.with_name(f"{root.name}-before"), held_out=held_out), DataLayout(root)
    pairs.start(data)
    writer = pairs.PairsWriter(data.pairs)
    for row in pairs.iter_rows(before.pairs):
        writer.add(row)
    about = {"entity_id": PERSON, "entity": NAME, "language": "ja"}
    for number in range(pictures):
        sha = SHAS[number]
        image = {"bytes": PICTURES[number], "path": f"{ALIAS}/{number}.jpg"}
        ids = {"pair_id": pairs.pair_id(sha, NAME, NAME), "image_sha256": sha, "image": image}
        row = about | ids | {"caption": NAME, "split": "train", "explanation": TEXT, "width": 32, "height": 32}
        writer.add(row)
    counts = writer.close()
    entities, texts = list(pairs.iter_rows(before.entities)), list(pairs.iter_rows(before.explanations))
    if pictures:
        entities.append(about | {"aliases": [ALIAS], "category": "person"})
        texts.append({"explanation_id": pairs.digest(TEXT), "caption": NAME, "text": TEXT} | about)
    pairs.write_rows(data.entities, pairs.ENTITIES, entities, name="entities")
    pairs.write_rows(data.explanations, pairs.EXPLANATIONS, texts, name="explanations")
    pairs.finish(data, pairs=sum(counts.values()), entities=len(entities), explanations=len(texts), **counts)
    return data


def traces(root: Path, needles: list[bytes]) -> list[str]:
    """Files below ``root`` that hold a needle: raw, inside Parquet, inside Git's objects."""
    found = []
    for path in sorted(root.rglob("*")):
        if not path.is_file() or path.is_symlink():
            continue
        content = path.read_bytes()
        if content[:4] == b"PAR1":
            content += repr(pq.read_table(path).to_pylist()).encode()
            content += b"".join(row["image"]["bytes"] for row in _images(path))
        if any(needle in content for needle in needles):
            found.append(str(path.relative_to(root)))
    objects = subprocess.run(
        ["git", "cat-file", "--batch-all-objects", "--batch"], cwd=root, capture_output=True, check=True
    ).stdout
    return found + ["a Git object"] * any(needle in objects for needle in needles)


def _images(path: Path) -> list[dict[str, Any]]:
    file = pq.ParquetFile(path)
    return file.read(columns=["image"]).to_pylist() if "image" in file.schema_arrow.names else []


NEEDLES = [text.encode() for text in (NAME, ALIAS)] + [json.dumps(NAME).strip('"').encode()] + PICTURES


def fill_state(layout: Layout) -> None:
    """What a writer, a reviewer and a service leave behind about her, and about others."""
    for name, entity_id, text, sha in ((NAME, PERSON, TEXT, PICTURES[2]), ("KX-RED", "other", "A red disc.", b"")):
        request = ExplanationRequest(entity_id=entity_id, entity=name, caption=name)
        record = ExplanationRecord(
            explanation_id=pairs.digest(text),
            entity_id=entity_id,
            caption=name,
            text=text,
            language="ja",
            generator="g",
            prompt_version="1",
        )
        with Ledger(layout.ledger) as ledger:
            ledger.keep(name, WriterAnswer(request=request, records=(record,)), writer=_Named())
        feedback = {"release": "v1.0.0", "key": "k", "verdict": "right", "entity_id": entity_id, "entity": name}
        Spool(layout.service.feedback).put(Feedback(**feedback, picture=sha, text=text))
    Samples(layout.service.samples).write({"release": "v1.0.0", "script": "Latin"})
    changes = Changes(ChangesLayout(layout.service.entities), fingerprint="f")
    for name in (NAME, "KX-NEW"):
        entry = EntityEntry(entity=name, aliases=(ALIAS,) if name == NAME else (), explanations=(f"{name} is new.",))
        picture = PICTURES[0] if name == NAME else portrait(8)
        changes.put(pairs.entity_id(name), entry, pictures=[picture], keep_pictures=True, vectors={})
    layout.quarantine("b").parent.mkdir(parents=True)
    layout.quarantine("b").write_text(f"table,text\npairs,{TEXT}\n")
    review = {"explanation_id": "1", "entity_id": PERSON, "entity": NAME, "rules": "email", "text": TEXT}
    other = {"explanation_id": "2", "entity_id": "other", "entity": "KX-RED", "rules": "email", "text": "A red disc."}
    for given in (review, other):
        add_reviews(
            layout.reviews,
            [Review(**given, decision="accept", reviewer="ana", minutes=1, day="2026-11-01")],  # type: ignore[arg-type]
        )
    Repository(layout.root).commit("Reviews", [layout.reviews])


class _Named:
    generator = "g"

    def prompt_version(self, _: ExplanationRequest) -> str:
        return "1"


@pytest.fixture
def filled(workspace: Layout, tmp_path: Path) -> Layout:
    """Three versions: without her, with one picture, with two; and her traces in every other place."""
    for number, message in enumerate(("Without", "One", "Two")):
        version_data(workspace, person_data(tmp_path / f"data-{number}", pictures=number), message=message)
    fill_state(workspace)
    assert traces(workspace.root, NEEDLES)
    return workspace


def entity_request() -> ErasureRequest:
    return ErasureRequest(kind="entity", value=PERSON)


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
    ingest_feedback.fn(filled, Spool(filled.service.feedback))
    assert (filled.feedback.root / "pictures" / SHAS[2]).exists()
    erase(filled, entity_request(), by="ana")
    assert traces(filled.root, NEEDLES) == []
    assert [path.name for path in (filled.feedback.root / "pictures").iterdir()] == [
        hashlib.sha256(portrait(9)).hexdigest()
    ]
    assert "KX-RED" in filled.feedback.judged.read_text()


# ---------------------------------------------------------------- kills, locks, remotes
STEPS = ("_recorded", "_make_again", "_erase_places", "_delete_versions")


@pytest.mark.slow
@pytest.mark.parametrize("step", STEPS)
def test_killed_after_any_step_the_same_call_completes_it(filled: Layout, step: str) -> None:
    script = (
        "import os, sys; from pathlib import Path; from entityclip.paths import Layout;"
        "from entityclip.data.erasure import ErasureRequest; from flows.erasure import erase as e;"
        f"real = e.{step};"
        f"e.{step} = lambda *a: (real(*a), os.kill(os.getpid(), 9));"
        "e.erase(Layout(Path(sys.argv[1])), ErasureRequest(kind='entity', value=sys.argv[2]), by='ana')"
    )
    done = subprocess.run([sys.executable, "-c", script, str(filled.root), PERSON], capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    with pytest.raises(WorkspaceError, match=r"ana began on .* interrupted"):
        erase(filled, ErasureRequest(kind="entity", value="KX-RED"), by="ana")
    assert erase(filled, entity_request(), by="ana").erased
    assert traces(filled.root, NEEDLES) == []
    (record,) = read_erasures(filled.erasures)
    assert record.finished
    assert record.versions
    for version in record.versions:
        assert not list(filled.root.glob(f".*/**/{version[2:]}"))


def test_killed_amid_the_deletion_the_rest_of_each_version_goes(filled: Layout) -> None:
    doomed = folder_hash(filled.data.root)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(erasing, "_delete_versions", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt()))
        with pytest.raises(KeyboardInterrupt):
            erase(filled, entity_request(), by="ana")
    with Repo(str(filled.root)) as repo:  # the shards that say so are gone, the others and the list are not
        cache = repo.cache.local
        listing = json.loads(Path(cache.oid_to_path(doomed)).read_text())
        left = [entry["md5"] for entry in listing if entry["relpath"].startswith("pairs/train")]
        for oid in left:
            Path(cache.oid_to_path(oid)).unlink()
            Path(repo.cloud.get_remote_odb("workspace").oid_to_path(oid)).unlink()
    erase(filled, entity_request(), by="ana")
    assert traces(filled.root, NEEDLES) == []
    assert not list(filled.root.glob(f".*/**/{doomed[2:]}"))


def test_a_remote_that_is_away_is_refused_before_anything_is_deleted(filled: Layout, tmp_path: Path) -> None:
    with Repo(str(filled.root)) as repo, repo.config.edit("repo") as config:
        config["remote"]["nas"] = {"url": str(tmp_path / "nas")}
    before = traces(filled.root, NEEDLES)
    with pytest.raises(WorkspaceError, match=r"remote 'nas': .*nas is not a folder; nothing was erased"):
        erase(filled, entity_request(), by="ana")
    (tmp_path / "nas").mkdir()
    with pytest.raises(WorkspaceError, match=r"remote 'nas': .*nas is empty; nothing was erased"):
        erase(filled, entity_request(), by="ana")
    assert traces(filled.root, NEEDLES) == before
    assert not filled.erasures.exists()


@pytest.mark.parametrize(
    ("remote", "reason"),
    [
        ({"url": "http://127.0.0.1:9/store"}, "HTTP cannot delete; nothing was erased"),
        ({"url": "s3://bucket/store", "endpointurl": "http://127.0.0.1:9"}, "before anything is deleted, failed"),
    ],
    ids=["http", "s3"],
)
def test_a_server_that_cannot_delete_or_answer_is_refused_before_anything_is_deleted(
    filled: Layout, remote: dict[str, str], reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"ACCESS_KEY_ID": "a", "SECRET_ACCESS_KEY": "b", "MAX_ATTEMPTS": "1"}.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    with Repo(str(filled.root)) as repo, repo.config.edit("repo") as config:
        config["remote"]["far"] = remote
    before = traces(filled.root, NEEDLES)
    with pytest.raises(WorkspaceError, match=reason):
        erase(filled, entity_request(), by="ana")
    assert traces(filled.root, NEEDLES) == before


def test_every_remote_is_cleared_not_only_the_default_one(filled: Layout, tmp_path: Path) -> None:
    with Repo(str(filled.root)) as repo, repo.config.edit("repo") as config:
        config["remote"]["nas"] = {"url": str(tmp_path / "nas")}
    shutil.copytree(filled.remote, tmp_path / "nas")
    shutil.rmtree(filled.dvc_folder / "cache")  # only the remotes are left to tell
    erase(filled, entity_request(), by="ana")
    assert traces(filled.root, NEEDLES) == []
    for path in (tmp_path / "nas").rglob("*"):
        if path.is_file() and path.read_bytes()[:4] == b"PAR1":
            assert NAME not in repr(pq.read_table(path).to_pylist())


def test_a_workspace_without_a_remote_is_erased(filled: Layout) -> None:
    with Repo(str(filled.root)) as repo, repo.config.edit("repo") as config:
        del config["core"]["remote"], config["remote"]["workspace"]
    shutil.rmtree(filled.remote)
    erase(filled, entity_request(), by="ana")
    assert traces(filled.root, NEEDLES) == []


def test_a_run_at_work_is_not_disturbed(filled: Layout) -> None:
    filled.config.write_text("runs:\n  when_busy: drop\n")
    with workspace_lock(filled), pytest.raises(Busy, match="another run is at work"):
        erase(filled, entity_request(), by="ana")


def test_data_of_her_alone_are_refused_with_the_remedy(workspace: Layout, tmp_path: Path) -> None:
    data = person_data(tmp_path / "data", pictures=1)
    version_data(workspace, data, message="Data")
    with pytest.raises(DataError, match="no pair would be left; delete the workspace"):
        erase(workspace, ErasureRequest(kind="text", value="KX-"), by="ana") and erase(
            workspace, entity_request(), by="ana"
        )


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


# ---------------------------------------------------------------- releases
@pytest.fixture
def served(workspace: Layout, tmp_path: Path, decided: Decided) -> Layout:
    """v1.0.0 without her, v1.1.0 with her: the champion, packaged and live."""
    for number in (0, 1):
        version = version_data(
            workspace, person_data(tmp_path / f"d{number}", pictures=2 * number, held_out=1), message=f"Data {number}"
        )
        folder = tmp_path / f"checkpoint-{number}"
        model = tiny_model(folder, seed=number, data_hash=version.data_hash)
        report, _ = evaluate(model, workspace.data, progress=False)
        made = release(
            workspace,
            checkpoint=CheckpointLayout(folder),
            reports={"evaluation": report, "card": model.card},
            decision=decided(model.card.fingerprint, version.data_hash),
        )
        packaged(workspace, made)
        go_live(workspace, made)
        assign_champion(workspace, made.version, message="Better")
    return workspace


@pytest.mark.slow
def test_a_release_of_such_data_is_gone_with_its_bento_and_the_one_before_stays(served: Layout) -> None:
    repository = Repository(served.root)
    seen = preview(served, entity_request())
    assert seen.releases == ("v1.1.0",)
    assert any(line.what.startswith("entityclip-service:v1.1.0") for line in seen.found)
    done = erase(served, entity_request(), by="ana")
    assert traces(served.root, NEEDLES) == []
    assert champion(served) is None
    assert history(served)[-1].until is not None
    assert list(versions(served)) == ["v1.0.0", "v1.1.0"]
    assert len(done.models) == 1
    assert not served.service.live.exists()
    with pytest.raises(WorkspaceError, match=r"v1\.1\.0: its data were erased at a request .* left: v1\.0\.0"):
        roll_back(served, "v1.1.0", reason="to see")
    assert served_package(served, release_of_first(served)).exists()
    assert repository.git("status", "--porcelain") == ""
    assert roll_back(served, "v1.0.0", reason="until the next one").version == "v1.0.0"
    assert read_erasures(served.erasures)


def release_of_first(layout: Layout) -> Any:
    from flows.workspace.registry import release_of

    return release_of(layout, "v1.0.0")


def test_environment_of_git_leads_nowhere_else(filled: Layout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "elsewhere"))
    monkeypatch.setenv("GIT_INDEX_FILE", str(tmp_path / "index"))
    assert erase(filled, entity_request(), by="ana").erased
    del os.environ["GIT_DIR"], os.environ["GIT_INDEX_FILE"]
    assert traces(filled.root, NEEDLES) == []
