from __future__ import annotations

import io
import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from chat_model_files import JAPANESE, REPLY, write_chatty
from PIL import Image

from entityclip.errors import ConfigError
from entityclip.explanations import WriterAnswer, open_writer, writer_config
from entityclip.explanations.language_model import fingerprint
from entityclip.schemas import ExplanationRequest


@pytest.fixture(scope="module")
def chatty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_chatty(tmp_path_factory.mktemp("models") / "chatty")


def answers_of(model: Path, *requests: ExplanationRequest, **settings: Any) -> list[WriterAnswer]:
    given = {"writer": "transformers", "model": str(model), "device_map": "cpu", "max_tokens": 64, **settings}
    return list(open_writer(writer_config(given, origin="here"), ledger=model / "no.sqlite").write(iter(requests)))


def request(i: int, **known: Any) -> ExplanationRequest:
    return ExplanationRequest(**{"entity_id": f"e{i}", "entity": f"KX-{i}", "caption": "kettle " * i, **known})


def jpeg() -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (40, 30), "red").save(stream, "JPEG")
    return stream.getvalue()


def test_prompts_of_different_lengths_are_answered_in_one_batch(chatty: Path) -> None:
    requests = [request(i) for i in range(5)]
    answers = answers_of(chatty, *requests, batch=3)
    assert [a.request for a in answers] == requests
    assert {a.records[0].text for a in answers} == {json.loads(REPLY)["text"]}
    assert answers[0].doubts == ("its age",)
    assert answers[0].records[0].generator == f"transformers:chatty@{fingerprint(chatty)}"
    assert answers[0].cost.tokens_in < answers[4].cost.tokens_in
    assert answers[0].cost.tokens_out == len(REPLY.split(" ")) + 1
    assert answers[0].cost.seconds > 0


def test_japanese_goes_in_and_out(tmp_path: Path) -> None:
    model = write_chatty(tmp_path / "japanese", says=JAPANESE)
    (answer,) = answers_of(model, request(1, caption="赤いやかん", language="ja"), dtype="bfloat16")
    assert answer.records[0].text == json.loads(JAPANESE)["text"]
    assert answer.records[0].prompt_version.startswith("product.ja.v1-")


@pytest.mark.parametrize(("ends", "why"), [(True, "no whole JSON object"), (False, "cut off after 64 tokens")])
def test_what_cannot_be_corrected_is_rejected_and_both_tries_are_counted(tmp_path: Path, ends: bool, why: str) -> None:
    model = write_chatty(tmp_path / "rambling", says="I am sorry to say.", ends=ends)
    (answer,) = answers_of(model, request(1))
    assert answer.records == ()
    assert why in answer.rejected
    assert answer.cost.tokens_out == (12 if ends else 128)


def test_a_model_with_eyes_gets_the_picture_where_there_is_one(tmp_path: Path) -> None:
    model = write_chatty(tmp_path / "seeing", sees=True)
    blind, broken = request(1), request(1, pictures=(b"nonsense",))
    seeing = request(1, pictures_sha256=("a",), pictures=(jpeg(),))
    twice = request(1, pictures_sha256=("a", "b"), pictures=(jpeg(), jpeg()))
    answers = answers_of(model, seeing, blind, broken, twice)  # by default, since this model takes pictures
    assert [a.request for a in answers] == [seeing, blind, broken, twice]
    assert all(a.records for a in answers)
    assert answers[3].cost.tokens_in >= answers[0].cost.tokens_in + 4


def test_a_local_model_gets_pictures_by_default_if_it_takes_them(chatty: Path, tmp_path: Path) -> None:
    seeing = write_chatty(tmp_path / "seeing", sees=True)
    sees = {
        (model.name, pictures): open_writer(
            writer_config({"writer": "transformers", "model": str(model), "pictures": pictures}, origin="here"),
            ledger=tmp_path / "no.sqlite",
        ).sees_pictures
        for model, pictures in ((chatty, None), (seeing, None), (seeing, False))
    }
    assert sees == {("chatty", None): 0, ("seeing", None): 3, ("seeing", False): 0}


def test_a_model_without_eyes_is_refused_where_pictures_are_wanted(chatty: Path) -> None:
    with pytest.raises(ConfigError, match=r"pictures: the model in .* takes none"):
        answers_of(chatty, request(1), pictures=True)


def test_a_folder_without_a_usable_model_is_refused_with_its_name(chatty: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="not a folder with a file config"):
        answers_of(tmp_path / "nothing", request(1))
    (tmp_path / "config.json").write_text('{"model_type": "unheard-of"}')
    with pytest.raises(ConfigError, match="cannot be loaded"):
        answers_of(tmp_path, request(1))


def test_other_weights_are_another_generator(chatty: Path, tmp_path: Path) -> None:
    assert fingerprint(write_chatty(tmp_path / "other", says="Something else.")) != fingerprint(chatty)
    assert fingerprint(chatty) == fingerprint(chatty)


# ---------------------------------------------------------------- the same model behind a real server
@pytest.fixture
def served(chatty: Path, tmp_path: Path) -> Iterator[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [Path(sys.executable).with_name("transformers"), "serve", chatty, "--port", port, "--device", "cpu"]
    quiet = os.environ | {"HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}
    with (tmp_path / "log").open("w") as log:
        server = subprocess.Popen(list(map(str, command)), env=quiet, stdout=log, stderr=log)
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and server.poll() is None:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/health").close()
            break
        except urllib.error.URLError:
            time.sleep(0.2)
    yield f"http://127.0.0.1:{port}/v1"
    server.kill()
    server.wait()


@pytest.mark.slow
def test_the_server_of_transformers_is_understood(chatty: Path, served: str, tmp_path: Path) -> None:
    given = {"writer": "openai", "model": str(chatty), "base_url": served, "structured": False, "max_concurrency": 2}
    writer = open_writer(writer_config(given, origin="here"), ledger=tmp_path / "ledger.sqlite")
    requests = [request(i, language="ja", caption="赤いやかん") for i in range(3)]
    answers = sorted(writer.write(iter(requests)), key=lambda answer: answer.request.entity)
    assert [a.request for a in answers] == requests
    assert {a.records[0].text for a in answers} == {json.loads(REPLY)["text"]}
    assert all(a.cost.tokens_in > 100 and a.cost.tokens_out > 5 for a in answers)
