"""What is added, changed or removed in service is found, or not found, by the next question."""

import io
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from datetime import date
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny import tiny_data, tiny_model, tiny_picture

from entityclip.data import pairs
from entityclip.errors import ConfigError, DataError, ImageError
from entityclip.paths import ChangesLayout, PackageLayout
from entityclip.retrieval.index import Changes, EntityIndex, FullText, PictureIndex
from entityclip.retrieval.index.changes import MOST_PICTURES, TEXTS
from entityclip.retrieval.predictor import Predictor
from entityclip.schemas import EntityEntry, Filter

RED = pairs.entity_id("KX-RED")
PUMP = EntityEntry(
    entity="QX-204B",
    aliases=("青いポンプ",),
    category="pump",
    tags=("new",),
    date=date(2026, 5, 1),
    explanations=("The QX-204B has a body like a cyan square.",),
)


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("package")
    data, model = tiny_data(tmp_path_factory.mktemp("data")), tiny_model(folder)
    entities, pictures = EntityIndex.build(model, data), PictureIndex.build(model, data)
    entities.save(PackageLayout(folder).entities)
    pictures.save(PackageLayout(folder).pictures)
    FullText.create(entities.rows, pictures.rows, path=PackageLayout(folder).text)
    return folder


@pytest.fixture
def opened(package: Path, tmp_path: Path) -> Callable[[], Predictor]:
    """Each call is another process's view of the same catalogue."""
    return lambda: Predictor.load(package, changes=tmp_path / "changes")


@pytest.fixture
def predictor(opened: Callable[[], Predictor]) -> Predictor:
    return opened()


def photograph(colour: str = "cyan", number: int = 5) -> bytes:
    stream = io.BytesIO()
    tiny_picture(colour, number).save(stream, "PNG")
    return stream.getvalue()


def plain(red: int) -> bytes:
    Image.new("RGB", (8, 8), (red, 0, 0)).save(stream := io.BytesIO(), "PNG")
    return stream.getvalue()


def first(predictor: Predictor, text: str, **options) -> str:
    return predictor.search(text, k=1, target="entities", **options)[0].entity


def test_entity_added_by_text_is_found_by_the_next_question(predictor):
    assert len(predictor.catalog.now()) == 6
    entity_id = predictor.put_entity(PUMP)
    assert entity_id == pairs.entity_id("QX-204B")
    (hit,) = predictor.search("QX-204B", k=1, target="entities")
    assert (hit.entity_id, hit.exact, hit.why[0].by) == (entity_id, True, "code")
    for text in ("青いポンプ", "ポンプ", "プ", "204", "QX204B", "QX-2O4B", "cyan square"):
        assert first(predictor, text) == "QX-204B"
    assert "QX-204B" in {tag.entity for tag in predictor.tag(tiny_picture("cyan", 0), k=7)}
    assert predictor.about().entities == 7


def test_added_entity_scores_as_a_released_one_with_its_texts(predictor):
    """The same texts give the same vector, so that the next release ranks it as this one did."""
    released = EntityEntry(
        entity="KX-RED", aliases=("red kettle",), explanations=("The KX-RED has a body like a red disc.",)
    )
    before = {tag.entity: tag.score for tag in predictor.tag(tiny_picture("red", 0), k=6)}
    predictor.put_entity(released)
    after = {tag.entity: tag.score for tag in predictor.tag(tiny_picture("red", 0), k=6)}
    assert after == pytest.approx(before, abs=1e-5)


def test_picture_added_to_an_entity_finds_itself(predictor):
    predictor.put_entity(PUMP, [photograph(), photograph()])
    (hit,) = predictor.search(image=tiny_picture("cyan", 5), k=1)
    assert (hit.entity, hit.score) == ("QX-204B", pytest.approx(1, abs=1e-5))
    assert predictor.about().pictures == 41  # the same file twice is one picture
    assert predictor.search("qx-204b", k=1)[0].entity == "QX-204B"


def test_every_process_sees_a_change_and_so_does_the_next_start(opened):
    here, there = opened(), opened()
    here.put_entity(PUMP, [photograph()])
    assert first(there, "QX-204B") == "QX-204B"
    there.remove_entity(RED)
    for predictor in (here, opened()):
        assert not any(hit.exact for hit in predictor.search("KX-RED", k=6, target="entities"))
        assert predictor.about().entities == 6


def test_changed_entity_keeps_its_pictures_under_its_new_name(predictor):
    predictor.put_entity(PUMP, [photograph()], entity_id=RED)
    hits = predictor.search("QX-204B", k=20)
    assert {hit.entity for hit in hits[:15]} == {"QX-204B"}
    assert [hit.exact for hit in hits] == [True] * 15 + [False] * 5
    assert not any(hit.exact for hit in predictor.search("red kettle", k=40))
    predictor.put_entity(PUMP, entity_id=RED, keep_pictures=False)
    assert predictor.about().pictures == 40 - 14
    predictor.put_entity(PUMP, entity_id=RED)
    assert predictor.about().pictures == 40 - 14, "pictures that were given up do not come back"


def test_removed_entity_is_gone_with_its_pictures(predictor):
    predictor.remove_entity(RED)
    assert RED not in {tag.entity_id for tag in predictor.tag(tiny_picture("red", 0), k=10)}
    assert RED not in {hit.entity_id for hit in predictor.search(image=tiny_picture("red", 0), k=100)}
    with pytest.raises(ConfigError, match="there is none with this id"):
        predictor.remove_entity(RED)
    predictor.put_entity(EntityEntry(entity="KX-RED"))
    assert first(predictor, "KX-RED") == "KX-RED"
    assert predictor.about().pictures == 40, "it returns with the pictures of the release"
    predictor.remove_entity(RED)
    predictor.put_entity(EntityEntry(entity="KX-RED"), keep_pictures=False)
    assert predictor.about().pictures == 26


def test_filters_are_right_on_fresh_rows(predictor):
    predictor.put_entity(PUMP, [photograph()])
    for where in (Filter(categories=("pump",)), Filter(tags=("new",)), Filter(since=date(2026, 5, 1))):
        assert [hit.entity for hit in predictor.search("red kettle", target="entities", where=where)] == ["QX-204B"]
        assert [hit.entity for hit in predictor.search("red kettle", where=where)] == ["QX-204B"]
    kettles = predictor.search("QX-204B", target="entities", where=Filter(categories=("kettle",)), k=10)
    assert len(kettles) == 6
    assert not any(hit.exact for hit in kettles)
    assert predictor.search("x", where=Filter(categories=("boat",))) == []


def test_another_model_embeds_the_changes_again_and_mixes_nothing(package, tmp_path, predictor):
    predictor.put_entity(PUMP, [photograph()])
    other = tiny_model(tmp_path / "other", seed=1)
    data = tiny_data(tmp_path / "data")
    layout = PackageLayout(tmp_path / "other")
    EntityIndex.build(other, data).save(layout.entities)
    PictureIndex.build(other, data).save(layout.pictures)
    successor = Predictor.load(layout.root, changes=tmp_path / "changes")
    (hit,) = successor.search(image=tiny_picture("cyan", 5), k=1)
    assert (hit.entity, hit.score) == ("QX-204B", pytest.approx(1, abs=1e-5))
    added = successor.catalog.now().added
    assert added.vectors["caption"][0] == pytest.approx(other.embed_texts(["QX-204B"])[0], abs=1e-5)
    (again,) = predictor.search(image=tiny_picture("cyan", 5), k=1)
    assert again.score == pytest.approx(1, abs=1e-5)


def test_unusable_picture_changes_nothing(predictor):
    with pytest.raises(ImageError):
        predictor.put_entity(PUMP, [photograph(), b"no picture"])
    assert predictor.about().entities == 6
    with pytest.raises(ConfigError, match="more than 100 pictures"):
        predictor.put_entity(PUMP, [plain(i) for i in range(MOST_PICTURES + 1)])
    assert predictor.about().entities == 6


def test_nothing_is_changed_where_no_folder_keeps_it(package):
    predictor = Predictor.load(package)
    with pytest.raises(ConfigError, match="no folder"):
        predictor.put_entity(PUMP)


def test_damaged_file_of_changes_is_an_error(package, tmp_path):
    (tmp_path / "changes").mkdir()
    (tmp_path / "changes" / "entities.sqlite").write_bytes(b"rubbish" * 1000)
    with pytest.raises(DataError, match=r"entities\.sqlite"):
        Predictor.load(package, changes=tmp_path / "changes")


def test_many_threads_and_processes_write_and_lose_nothing(opened):
    views = [opened(), opened()]

    def write(worker: int) -> None:
        for i in range(3):
            views[worker % 2].put_entity(EntityEntry(entity=f"W{worker}-{i}00"))

    threads = [threading.Thread(target=write, args=(worker,)) for worker in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for view in (*views, opened()):
        assert view.about().entities == 6 + 12
        assert all(view.search(f"W{w}-{i}00", k=1, target="entities")[0].exact for w in range(4) for i in range(3))


def test_tag_counts_added_entities_among_all(predictor):
    predictor.put_entity(PUMP)
    predictor.remove_entity(RED)
    tags = predictor.tag(tiny_picture("red", 0), k=10)
    odds = np.exp(predictor.model.scale * np.array([tag.score for tag in tags]))
    assert [tag.confidence for tag in tags] == pytest.approx((odds / odds.sum()).tolist(), abs=1e-5)


def test_package_without_pictures_gets_its_first_one_and_an_emptied_catalogue_answers(package, tmp_path):
    shutil.copytree(package, tmp_path / "p")
    shutil.rmtree(PackageLayout(tmp_path / "p").pictures.root)
    predictor = Predictor.load(tmp_path / "p", changes=tmp_path / "changes")
    assert predictor.search("anything") == []
    entity_id = predictor.put_entity(PUMP, [photograph()])
    assert [hit.entity for hit in predictor.search("anything")] == ["QX-204B"]
    for removed in (entity_id, *predictor.entities.rows["entity_id"]):
        predictor.remove_entity(removed)
    assert predictor.search("KX-RED", target="entities") == predictor.search("KX-RED") == []
    assert predictor.tag(tiny_picture("red", 0)) == []


_WRITER = """
import sys
from pathlib import Path
import numpy as np
from entityclip.retrieval.index.changes import TEXTS, Changes
from entityclip.paths import ChangesLayout
from entityclip.schemas import EntityEntry
changes = Changes(ChangesLayout(Path(sys.argv[1])), fingerprint="m")
for i in range(100_000):
    vectors = {TEXTS: np.zeros((2, 8), np.float32)}
    entry = EntityEntry(entity=f"C-{i:05d}")
    changes.put(f"e{i}", entry, pictures=[bytes(20_000)], keep_pictures=True, vectors=vectors)
    print(i, flush=True)
"""


@pytest.mark.slow
def test_killed_writer_loses_nothing_that_was_confirmed(tmp_path):
    with subprocess.Popen([sys.executable, "-c", _WRITER, tmp_path], stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        for line in writer.stdout:
            if int(line) >= 50:
                writer.kill()
                break
        confirmed = max([50, *map(int, writer.stdout.read().split())]) + 1
    changes = Changes(ChangesLayout(tmp_path), fingerprint="m")
    found = changes.since(0, dim=8)
    assert confirmed <= len(found) <= confirmed + 1
    assert all(TEXTS in change.vectors and len(change.pictures) == 1 for change in found)
    assert all(changes.text.named(f"C-{i:05d}") for i in range(confirmed))


def test_a_picture_that_is_added_is_kept_without_its_metadata(predictor: Predictor, tmp_path: Path) -> None:
    stream = io.BytesIO()
    tiny_picture("cyan", 5).save(stream, "JPEG", comment=b"hanako@example.jp")
    predictor.put_entity(PUMP, [stream.getvalue()])
    kept = b"".join(path.read_bytes() for path in ChangesLayout(tmp_path / "changes").root.iterdir())
    assert b"hanako" not in kept
