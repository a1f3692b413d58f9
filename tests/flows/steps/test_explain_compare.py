"""``entityclip explain compare`` as people type it, with two writers that follow rules."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest
from browser import HOSTILE
from tiny import COLOURS, tiny_data, tiny_model
from typer.testing import CliRunner, Result

from entityclip.cli import app
from entityclip.data import pairs
from entityclip.explanations import WriterAnswer, WriterCost, record
from entityclip.paths import DataLayout
from entityclip.schemas import ExplanationRequest


class ColourOfTheName:
    """States the colour in the name of an entity, or always the same one; with ``mute``, every reply is rejected."""

    sees_pictures = False
    requests: ClassVar[list[str]] = []

    def __init__(self, colour: str = "", *, mute: bool = False) -> None:
        self._colour, self._mute = colour, mute
        self.generator = f"rules-{colour}{mute}"

    def prompt_version(self, request: ExplanationRequest) -> str:  # noqa: ARG002
        return "v1"

    def expected(self, request: ExplanationRequest) -> WriterCost:  # noqa: ARG002
        return WriterCost(tokens_in=10, tokens_out=5, money=0.5)

    def write(self, requests: Iterable[ExplanationRequest]) -> Iterator[WriterAnswer]:
        for request in requests:
            self.requests.append(request.entity)
            colour = self._colour or request.entity.removeprefix("KX-").lower()
            text = f"The {request.entity} is a kettle with a {colour} body. {HOSTILE}"
            texts = () if self._mute else (record(request, text, writer=self),)
            why = "text: is empty" if self._mute else ""
            yield WriterAnswer(request=request, records=texts, cost=self.expected(request), rejected=why)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> DataLayout:
    data = tiny_data(tmp_path_factory.mktemp("compare") / "data")
    pairs.write_rows(data.source_provided, pairs.SOURCE_PROVIDED, iter(()), name="source_provided")
    return data


@pytest.fixture(scope="module")
def files(data: DataLayout) -> dict[str, Path]:
    """Settings of three writers."""
    found = {}
    for name, options in {"by name": "{}", "red": "{colour: red}", "mute": "{mute: true}"}.items():
        found[name] = data.root.parent / f"{name}.yaml"
        found[name].write_text(f"{{writer: custom, factory: '{__name__}:ColourOfTheName', options: {options}}}")
    return found


def compare(data: DataLayout, *arguments: object) -> Result:
    to = data.root.parent / "compared"
    given = [
        "explain",
        "compare",
        *arguments,
        "--data",
        data.root,
        "--workspace",
        data.root.parent,
        "--to",
        to,
        "--json",
    ]
    return CliRunner().invoke(app, [str(argument) for argument in given], prog_name="entityclip")


def answer(result: Result) -> dict[str, Any]:
    assert result.exit_code == 0, result.output
    found: dict[str, Any] = json.loads(result.stdout.splitlines()[-1])
    return found


def values(found: dict[str, Any], name: str) -> list[float | None]:
    measure = next(one for one in found["measures"] if one["name"] == name)
    return [value and value["value"] for value in measure["values"]]


@pytest.mark.slow
def test_two_designs_are_written_judged_and_shown_and_requests_are_sent_once(
    data: DataLayout, files: dict[str, Path]
) -> None:
    ColourOfTheName.requests.clear()
    two = (files["by name"], files["red"])
    planned = answer(compare(data, *two, "--sample", 4, "--dry-run"))
    assert planned["entities"] == 4
    assert planned["designs"]["red"] == {
        "requests": 4,
        "known": 0,
        "cost": {"tokens_in": 40, "tokens_out": 20, "seconds": 0.0, "money": 2.0},
    }
    assert ColourOfTheName.requests == []
    checkpoint = data.root.parent / "checkpoint"
    tiny_model(checkpoint)
    found = answer(compare(data, *two, "--checkpoint", checkpoint))
    assert len(ColourOfTheName.requests) == 2 * len(COLOURS)
    assert values(found, "money") == [0.5, 0.5]
    assert values(found, "not_checkable") == [100.0, 100.0]  # five texts set no limit
    assert all(value is not None for value in values(found, "r1"))
    assert 100 / len(COLOURS) <= found["agreement"][0]["value"] < 100
    html = Path(found["page"]).read_text(encoding="utf-8")
    assert "; equal: " in found["conclusion"]
    assert "tokens of an answer" in found["conclusion"]
    assert "<script" not in html
    assert "&lt;script" in html
    assert html.count("data:image/jpeg") >= len(COLOURS) - 2
    assert "not by a champion" in html
    assert str(data.root) not in html
    assert "<code>options colour</code>" in html  # what the designs differ in

    found = answer(compare(data, files["red"], files["mute"], "--language", "ja"))
    assert len(ColourOfTheName.requests) == 3 * len(COLOURS)  # the new writer's alone
    assert values(found, "no_text") == [0.0, 100.0]
    assert found["designs"][1]["rejected"] == {"text: is empty": len(COLOURS)}
    assert values(found, "supported") == [None, None]
    assert any("is no workspace with a champion" in why for why in found["not_computed"])
    html = Path(found["page"]).read_text(encoding="utf-8")
    assert "説明文ライターの比較" in html
    assert "text: is empty" in html


@pytest.mark.parametrize(
    ("names", "why"),
    [(("red",), "expected two or more files"), (("red", "red copy"), "red and red copy: their writers send the same")],
)
def test_designs_that_cannot_be_compared_are_refused(
    data: DataLayout, files: dict[str, Path], names: tuple[str, ...], why: str
) -> None:
    copy = data.root.parent / "red copy.yaml"
    copy.write_text(files["red"].read_text())
    refused = compare(data, *({**files, "red copy": copy}[name] for name in names))
    assert refused.exit_code == 1
    assert why in refused.stderr
