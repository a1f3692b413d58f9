"""A product that a person adds on the page is found at once, and is in the next data version with their name."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pandas as pd
import pytest
from hostile_site import Site, png
from prefect.logging import disable_run_logger

from bentos.client import Client
from bentos.middleware import keys
from entityclip.data import pairs
from entityclip.errors import WorkspaceError
from entityclip.explanations.source_writer import SourceWriter
from entityclip.explanations.stage import explain
from entityclip.paths import Layout
from entityclip.quality.review import Merged
from entityclip.schemas import QualityReport
from entityclip.training.presets import preset
from expectations import check as gate
from flows import feedback as flow
from flows.feedback import ingest_feedback
from flows.steps import data as steps
from flows.steps.reprocess_quarantine import contributions, summary
from flows.workspace.create import open_workspace
from flows.workspace.repository import Repository
from flows.workspace.source import WorkspaceSource

pytestmark = pytest.mark.slow
ANA = "Ana Sato"
NAME = "ZZ-7 やかん"
ENTITY = pairs.entity_id(NAME)
COLOURS = ("red", "green", "blue", "orange")


@pytest.fixture
def layout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Layout:
    """A workspace whose source is a shop of four products; Git and DVC have no configuration of this machine."""
    for name in ("HOME", "XDG_CONFIG_HOME", "DVC_SITE_CACHE_DIR", "DVC_GLOBAL_CONFIG_DIR", "DVC_SYSTEM_CONFIG_DIR"):
        monkeypatch.setenv(name, str(tmp_path / "home" / name.lower()))
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    monkeypatch.setenv("DVC_NO_ANALYTICS", "1")
    shop = tmp_path / "shop"
    shop.mkdir()
    lines = ["file,entity,category,explanation,split"]
    for colour in COLOURS:
        for number, split in enumerate(("train", "train", "test")):
            (shop / f"{colour}{number}.png").write_bytes(png(colour, number))
            text = f"A round kettle with a {colour} body and a lid."
            lines.append(f"{colour}{number}.png,KX-{colour.upper()},kettle,{text},{split}")
    (shop / "pictures.csv").write_text("\n".join(lines) + "\n")
    return open_workspace(tmp_path / "workspace")


@pytest.fixture
def ana(site: Site) -> Iterator[httpx.Client]:
    """Ana's browser, signed in."""
    key = keys.make(site.state.keys, name=ANA, scopes=("query", "entities"), per_minute=10_000)
    time.sleep(keys.LOOK_SECONDS + 0.2)
    with httpx.Client(base_url=site.url, timeout=60) as browser:
        browser.post("/ui/sign-in", data={"key": key})
        yield browser


def post(browser: httpx.Client, action: str, *, pictures: list[bytes] | None = None, **fields: str) -> None:
    token = re.search(r'name="token" value="([^"]+)"', browser.get("/ui/products/edit").text)
    assert token is not None
    files = [("images", (f"{number}.png", data, "image/png")) for number, data in enumerate(pictures or [])]
    done = browser.post(f"/ui/products/{action}", data={"token": token[1], **fields}, files=files or None)
    assert done.status_code == 303, done.text


def versioned(layout: Layout) -> pd.DataFrame:
    """Pairs of the next data version, by the functions that a run calls."""
    tiny = preset("tiny")
    shop = WorkspaceSource(
        preset="tiny", source="table", path=str(layout.root.parent / "shop"), mapping=None, products=None
    )
    source = steps.source_of(layout, shop, progress=False)
    with disable_run_logger():
        steps.ingest_source.fn(source, tiny, layout, "batch")
        explain(layout.staging, writer=SourceWriter(), ledger=layout.ledger)
        quality: QualityReport = gate.check(
            layout.staging,
            accepted=layout.accepted,
            quarantine=layout.quarantine("batch"),
            context_root=layout.expectations,
        )
        assert not quality.refused, quality.refusal
        message = summary("shop", quality, Merged(), 0, contributed=contributions(layout.accepted))
        steps.version_accepted.fn(layout, message=message)
    return pairs.read_frame(layout.data.pairs)


def rows_of_ana(frame: pd.DataFrame) -> pd.DataFrame:
    return frame[frame["person"] == ANA]


def test_added_product_is_found_at_once_and_trained_on_in_the_next_version(
    site: Site, ana: httpx.Client, layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert set(versioned(layout)["source"]) == {"table"}
    fields = {"entity": NAME, "explanations": "A pink kettle with a long black handle.", "language": "en"}
    post(ana, "put", pictures=[png("pink", 1), png("pink", 2)], **fields)
    with Client(site.url, key=site.key) as client:
        assert client.search(image=png("pink", 1), k=1, index="images", target="entities").hits[0].entity == NAME
    assert "not yet in the training data" in ana.get("/ui/products", headers={"Accept-Language": "en"}).text

    with monkeypatch.context() as broken:
        broken.setattr(flow, "push", lambda *_: (_ for _ in ()).throw(WorkspaceError("the remote is away")))
        with pytest.raises(WorkspaceError):
            ingest_feedback.fn(layout, site.state)
    gathered = ingest_feedback.fn(layout, site.state)
    assert gathered.waiting == 2
    head = Repository(layout.root).git("rev-parse", "HEAD")
    assert ingest_feedback.fn(layout, site.state).products.products == 0
    assert Repository(layout.root).git("rev-parse", "HEAD") == head

    frame = versioned(layout)
    mine = rows_of_ana(frame)
    assert len(mine) == 2
    assert len(frame) == 14
    for column, value in {"entity": NAME, "entity_id": ENTITY, "split": "train", "source": "service"}.items():
        assert set(mine[column]) == {value}
    assert set(mine["reason"]) == {"product of the service"}
    assert mine["day"].str.match(r"^\d{4}-\d{2}-\d{2}$").all()
    assert mine["explanation"].str.contains("pink").all()
    entities = pairs.read_frame(layout.data.entities).set_index("entity_id")
    assert tuple(entities.loc[ENTITY, ["entity", "source", "person"]]) == (NAME, "service", ANA)
    message = Repository(layout.root).git("log", "-1", "--format=%B")
    assert f"From product of the service by {ANA}: 2 pictures" in message
    assert ingest_feedback.fn(layout, site.state).waiting == 0

    post(ana, "remove", entity_id=ENTITY)
    assert ingest_feedback.fn(layout, site.state).products.removed == 1
    assert rows_of_ana(versioned(layout)).empty
    assert ENTITY not in set(pairs.read_frame(layout.data.entities)["entity_id"])
    assert ingest_feedback.fn(layout, site.state).products.removed == 0
    assert list((layout.feedback.root / "pictures").glob("*")) == []
    assert rows_of_ana(versioned(layout)).empty
