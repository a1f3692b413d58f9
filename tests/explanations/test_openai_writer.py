from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hostile import GOOD, HostileServer

from entityclip.errors import BudgetSpent, ConfigError, WriterError
from entityclip.explanations import WriterAnswer, open_writer, writer_config
from entityclip.explanations.audit import read_audit
from entityclip.schemas import ExplanationRequest

Ask = Callable[..., list[WriterAnswer]]


@pytest.fixture
def server() -> Iterator[HostileServer]:
    with HostileServer() as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
def ask(server: HostileServer, tmp_path: Path) -> Ask:
    """``ask("busy", "good", retries=1)``: answers to requests with these captions; entities are E0, E1 ..."""

    def ask(*captions: str, into: list[WriterAnswer] | None = None, **settings: Any) -> list[WriterAnswer]:
        config = {"writer": "openai", "model": "m", "base_url": server.url, "retries": 2, "timeout": 10, **settings}
        writer = open_writer(writer_config(config, origin="here"), ledger=tmp_path / "ledger.sqlite")
        requests = [ExplanationRequest(entity_id=f"e{i}", entity=f"E{i}", caption=c) for i, c in enumerate(captions)]
        answers = [] if into is None else into
        for answer in writer.write(iter(requests)):
            answers.append(answer)
        return answers

    return ask


def test_an_answer_carries_text_attributes_and_cost(ask: Ask) -> None:
    (answer,) = ask("good", price_in=10.0, price_out=50.0)
    assert [r.text for r in answer.records] == [GOOD["text"]]
    assert answer.records[0].generator == "openai:m"
    assert answer.records[0].prompt_version.startswith("product.en.v1-")
    assert (answer.visible, answer.rejected) == (("red", "dots"), "")
    assert (answer.cost.tokens_in, answer.cost.tokens_out) == (100, 20)
    assert answer.cost.money == pytest.approx(0.002)
    assert answer.cost.seconds > 0


def test_a_server_gets_all_pictures_of_a_request_that_can_be_read(
    server: HostileServer, tmp_path: Path, picture_bytes: Callable[..., bytes]
) -> None:
    config = writer_config({"writer": "openai", "model": "m", "base_url": server.url, "pictures": True}, origin="here")
    writer = open_writer(config, ledger=tmp_path / "ledger.sqlite")
    shown = (picture_bytes(1), b"nonsense", picture_bytes(2))
    request = ExplanationRequest(
        entity_id="e", entity="E", caption="good", pictures=shown, pictures_sha256=("a", "b", "c")
    )
    (answer,) = writer.write(iter([request]))
    assert answer.records
    _, body = server.heard[-1]
    assert [part["type"] for part in body["messages"][1]["content"]] == ["text", "image_url", "image_url"]
    assert writer.sees_pictures == 3
    blind = config.model_copy(update={"pictures": None})  # pictures do not leave the machine unless the settings say so
    assert open_writer(blind, ledger=tmp_path / "ledger.sqlite").sees_pictures == 0


@pytest.mark.parametrize(("caption", "requests"), [("fenced", 1), ("broken", 3), ("closed", 2), ("half", 2)])
def test_trouble_on_the_way_costs_requests_but_no_answer(
    ask: Ask, server: HostileServer, caption: str, requests: int
) -> None:
    (answer,) = ask(caption)
    assert answer.records[0].text == GOOD["text"]
    assert server.counts["E0"] == requests


def test_retry_after_is_waited_for(ask: Ask, server: HostileServer) -> None:
    ask("busy")
    first, second = server.times["E0"]
    assert 1.0 <= second - first < 3.0


def test_a_faulty_reply_is_mended_once_and_both_are_paid_for(ask: Ask, server: HostileServer) -> None:
    (answer,) = ask("wrong")
    assert answer.records[0].text == GOOD["text"]
    assert answer.cost.tokens_in == 200
    mending = server.heard[1][1]["messages"]
    assert [m["role"] for m in mending] == ["system", "user", "assistant", "user"]
    assert "colour" in mending[-1]["content"]


@pytest.mark.parametrize(("caption", "why"), [("rambling", "cut off after 400 tokens"), ("silent", "JSON object")])
def test_what_stays_faulty_is_rejected_with_its_reason(ask: Ask, caption: str, why: str) -> None:
    (answer,) = ask(caption)
    assert answer.records == ()
    assert why in answer.rejected


def test_a_text_that_breaks_a_rule_is_corrected_or_rejected(ask: Ask, server: HostileServer) -> None:
    (answer,) = ask("good", rules={"forbidden": ["kettle"]})
    assert answer.rejected == "text: forbidden: kettle"
    assert server.counts["E0"] == 2


@pytest.mark.parametrize("caption", ["down", "slow", "endless", "dripping", "nonsense"])
def test_a_request_that_fails_is_reported_and_the_others_are_answered(ask: Ask, caption: str) -> None:
    answers: list[WriterAnswer] = []
    started = time.monotonic()
    with pytest.raises(WriterError, match="1 requests have no answer"):
        ask("good", caption, "good", into=answers, retries=0, timeout=0.7)
    assert {a.request.entity for a in answers} == {"E0", "E2"}
    assert time.monotonic() - started < 4


def test_a_server_that_is_down_is_not_retried_for_ever(ask: Ask, server: HostileServer) -> None:
    with pytest.raises(WriterError, match="status 503"):
        ask(*["down"] * 100, max_concurrency=4, retries=0)
    assert sum(server.counts.values()) < 12


def test_a_request_that_the_server_refuses_is_rejected_once_another_is_answered(ask: Ask) -> None:
    refused, good = sorted(ask("refused", "good"), key=lambda a: a.request.entity)
    assert "response_format" in refused.rejected
    assert good.records


def test_a_server_that_refuses_everything_is_an_error_not_a_rejected_answer(ask: Ask) -> None:
    answers: list[WriterAnswer] = []
    with pytest.raises(WriterError, match=r"refuses every request.*response_format"):
        ask("refused", "refused", into=answers)
    assert answers == []


def test_a_wrong_key_stops_at_once_and_is_not_repeated(
    ask: Ask, server: HostileServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHOP_KEY", "sk-very-secret")
    with pytest.raises(WriterError, match="status 401") as error:
        ask(*["locked"] * 50, api_key_env="SHOP_KEY", max_concurrency=1)
    assert server.heard[0][0]["authorization"] == "Bearer sk-very-secret"
    assert "secret" not in str(error.value)
    assert sum(server.counts.values()) == 1


def test_a_redirect_is_not_followed(ask: Ask) -> None:
    with pytest.raises(WriterError, match="status 307"):
        ask("elsewhere")


def test_the_environments_account_is_never_sent(
    ask: Ask, server: HostileServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("OPENAI_API_KEY", "OPENAI_ORG_ID", "OPENAI_PROJECT_ID"):
        monkeypatch.setenv(name, "private")
    ask("good")
    assert "private" not in json.dumps(server.heard[0])


def test_a_missing_key_and_a_strange_host_are_refused_before_anything_is_sent(ask: Ask, server: HostileServer) -> None:
    with pytest.raises(ConfigError, match="NO_SUCH_KEY"):
        ask("good", api_key_env="NO_SUCH_KEY")
    with pytest.raises(ConfigError, match=r"llm\.example\.com"):
        ask("good", base_url="https://llm.example.com/v1")
    assert not server.counts


@pytest.mark.parametrize("budget", [{"budget_tokens": 6_000}, {"budget_money": 0.006, "price_in": 1, "price_out": 1}])
def test_the_budget_stops_the_run_and_what_was_in_flight_is_kept(
    ask: Ask, server: HostileServer, budget: dict[str, float]
) -> None:
    answers: list[WriterAnswer] = []
    with pytest.raises(BudgetSpent, match="budget"):
        ask(*["good"] * 100, into=answers, max_concurrency=3, **budget)
    assert 10 < len(answers) < 100
    assert len(answers) == sum(server.counts.values())
    assert sum(a.cost.tokens_in + a.cost.tokens_out for a in answers) <= 6_000


def test_what_a_server_does_not_count_is_estimated(ask: Ask) -> None:
    (answer,) = ask("uncounted")
    assert 200 < answer.cost.tokens_in < 1_000
    assert 10 < answer.cost.tokens_out < 100


def test_some_refused_entities_do_not_stop_the_others(ask: Ask) -> None:
    answers = ask("good", *["refused"] * 12, "good", max_concurrency=1)
    assert [bool(answer.records) for answer in answers] == [True, *[False] * 12, True]


def test_no_more_requests_fly_than_may(ask: Ask, server: HostileServer) -> None:
    server.delay = 0.05
    ask(*["good"] * 20, max_concurrency=4)
    assert server.most_at_once == 4


def test_personal_data_stays_and_the_audit_knows_what_went(ask: Ask, server: HostileServer, tmp_path: Path) -> None:
    ask("a kettle, write to anna@example.com")
    (sent,) = read_audit(tmp_path / "ledger.sqlite")
    assert "anna" not in json.dumps(server.heard)
    assert (sent.host, sent.model, sent.entity_id, sent.redactions) == ("127.0.0.1", "m", "e0", {"EMAIL": 1})


def test_a_stopped_caller_leaves_no_thread(ask: Ask, server: HostileServer, tmp_path: Path) -> None:
    server.delay = 0.3
    config = writer_config({"writer": "openai", "model": "m", "base_url": server.url}, origin="here")
    writer = open_writer(config, ledger=tmp_path / "ledger.sqlite")
    requests = (ExplanationRequest(entity_id=f"e{i}", entity=f"E{i}", caption="good") for i in range(50))
    answers = writer.write(requests)
    next(answers)
    answers.close()
    assert "writer" not in [thread.name for thread in threading.enumerate()]
