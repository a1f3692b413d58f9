"""A running service with keys and hostile data, and tabs that visit it."""

from __future__ import annotations

import io
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from playwright.sync_api import Browser, BrowserContext
from served import Released
from tiny import tiny_data, tiny_model, tiny_picture
from visitors import HOSTILE_TEXTS, Visitor, new_tab

from bentos.build.contents import lay_out
from bentos.build.smoke_test import serving
from bentos.middleware import keys
from bentos.runtime.active_release import Live
from entityclip.data import pairs
from entityclip.paths import DataLayout, Layout, PackageLayout, StateLayout
from entityclip.schemas import PackageCard


def png(colour: str = "red", number: int = 1) -> bytes:
    stream = io.BytesIO()
    tiny_picture(colour, number).save(stream, "PNG")
    return stream.getvalue()


def hostile_data(root: Path) -> DataLayout:
    """``tiny_data`` with ``HOSTILE_TEXTS`` wherever a user's text can stand."""
    plain = tiny_data(root.with_name("plain"))
    data = DataLayout(root)
    pairs.start(data)

    def changed(row: dict[str, Any]) -> dict[str, Any]:
        text = HOSTILE_TEXTS.get(row.get("entity", row.get("caption")), "")
        own = {"aliases": ["kettle", text], "category": text[:300], "tags": [text[:300]]}
        if "image" in row:
            own |= {"caption": f"{row['entity']} {text}", "image": row["image"] | {"path": f"{text[:100]}.png"}}
        if "text" in row:
            own |= {"text": f"{row['text']} {text}"}
        return row | {name: value for name, value in own.items() if text and name in row}

    for split in ("train", "val", "test"):
        pairs.write_rows(data.pairs, pairs.PAIRS, map(changed, pairs.iter_rows(plain.pairs, name=split)), name=split)
    pairs.write_rows(data.entities, pairs.ENTITIES, map(changed, pairs.iter_rows(plain.entities)), name="entities")
    texts = map(changed, pairs.iter_rows(plain.explanations))
    pairs.write_rows(data.explanations, pairs.EXPLANATIONS, texts, name="explanations")
    pairs.finish(data, pairs=sum(1 for _ in pairs.iter_rows(data.pairs, columns=["pair_id"])))
    return data


class Site(NamedTuple):
    """A running service with pages."""

    url: str
    state: StateLayout
    key: str
    """With every right of a person."""


@pytest.fixture(scope="session")
def site(store_home: Path, released: Released, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("site")
    source, state = Layout(folder / "release"), StateLayout(folder / "state")
    shutil.copytree(released.layout.reports, source.reports)
    data = hostile_data(source.data.root)
    fingerprint = tiny_model(source.model.root, thresholds={"0.9": 0.1}).card.fingerprint
    release = released.release.model_copy(update={"version": "v2.0.0", "model_fingerprint": fingerprint})
    target = PackageLayout(folder / "package")
    lay_out(target, source, data, PackageCard(release=release, suite_hash="", licences=()))
    key = keys.make(state.keys, name="person", scopes=("query", "feedback", "entities"), per_minute=100_000)
    Live(champion=target.root).write(state.live)
    with serving("bentos.service:EntityClip", store=store_home, state=state.root) as url:
        yield Site(url, state, key)


Visit = Callable[..., Visitor]


@pytest.fixture
def visit(chromium: Browser, site: Site) -> Iterator[Visit]:
    """``visit(locale="ja-JP", signed_in=True, ...)``: a tab of a browser of its own; the rest as for a context."""
    contexts: list[BrowserContext] = []

    def opened(*, signed_in: bool = True, **options: Any) -> Visitor:
        visitor = new_tab(chromium, site.url, contexts, **options)
        if signed_in:
            visitor.sign_in(site.key)
        return visitor

    yield opened
    for context in contexts:
        context.close()
