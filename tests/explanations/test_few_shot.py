from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from base_model_files import FILE, write_base

from entityclip.errors import ConfigError, DataError
from entityclip.explanations import Writer, WriterAnswer, open_writer, writer_config
from entityclip.explanations.few_shot import read_examples, write_examples
from entityclip.schemas import ExplanationRequest
from flows.steps.data import examples_of

EXAMPLES = {
    "en": [
        {"name": "AB-1", "category": "mug", "notes": "A mug in red.", "text": "The AB-1 is a red mug."},
        {"name": "KX-1", "category": "kettle", "text": "The KX-1 is a kettle of steel."},
    ],
    "ja": [{"name": "AB-2", "category": "mug", "text": "赤いマグカップです。"}],
}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_base(tmp_path_factory.mktemp("base") / "tiny", says="A red kettle with white dots.")


@pytest.fixture
def examples(tmp_path: Path) -> Path:
    path = tmp_path / "examples.yaml"
    path.write_text(yaml.safe_dump(EXAMPLES, allow_unicode=True), encoding="utf-8")
    return path


def answers_of(model: Path, examples: Path | None, *requests: ExplanationRequest, **more: Any) -> list[WriterAnswer]:
    known = {"writer": "transformers", "model": str(model), "gguf_file": FILE, "device_map": "cpu", "max_tokens": 24}
    given = {**known, "few_shot": str(examples) if examples else None, **more}
    return list(open_writer(writer_config(given, origin="here"), ledger=model / "no.sqlite").write(iter(requests)))


def request(name: str = "KX-2", **known: Any) -> ExplanationRequest:
    return ExplanationRequest(**{"entity_id": name, "entity": name, "caption": "kettle", **known})


def test_a_base_model_in_a_gguf_file_writes_one_line_for_each_of_a_batch(base: Path, examples: Path) -> None:
    requests = [request(f"KX-{i}", source_provided=("Its lid is white. " * i,)) for i in range(2, 7)]
    answers = answers_of(base, examples, *requests, batch=3)
    assert [a.request for a in answers] == requests
    assert {a.records[0].text for a in answers} == {"A red kettle with white dots."}
    assert answers[0].records[0].generator.startswith("transformers:tiny/tiny.gguf@")
    assert answers[0].cost.tokens_out == 7  # the words, and the end of the line
    assert answers[0].cost.tokens_in < answers[4].cost.tokens_in


@pytest.mark.parametrize(
    ("says", "ends", "why"),
    [
        ("A red kettle", "", "has no end"),
        ("Data: {} red", "\n", "goes on with the prompt"),
        ('A red kettle", "refused": "low"}', "\n", "goes on with the prompt"),
        ("赤いマグカップです。", "\n", "is that of an example"),
        ("A", "\n", "min_chars"),
        ("", "\n", "is empty"),
    ],
)
def test_what_is_no_text_is_rejected_with_its_reason(
    tmp_path: Path, examples: Path, says: str, ends: str, why: str
) -> None:
    model = write_base(tmp_path / "bad", says=says, ends=ends)
    (answer,) = answers_of(model, examples, request(language="ja" if "赤" in says else "en"))
    assert answer.records == ()
    assert why in answer.rejected


def test_an_entity_may_have_the_text_of_its_own_example(tmp_path: Path, examples: Path) -> None:
    model = write_base(tmp_path / "own", says="The AB-1 is a red mug.")
    (own, other) = answers_of(model, examples, request("AB-1"), request("AB-9"))
    assert own.records
    assert "is that of an example" in other.rejected


def test_the_prompt_is_the_examples_of_the_language_and_never_the_entity_itself(base: Path, examples: Path) -> None:
    def text(of: ExplanationRequest) -> str:
        given = {"writer": "transformers", "model": str(base), "gguf_file": FILE, "few_shot": str(examples)}
        writer: Any = open_writer(writer_config(given, origin="here"), ledger=base / "no.sqlite")
        return str(writer._few_shot.text(of))

    english = text(request("KX-1", category="kettle", source_provided=("x" * 9_000,)))
    assert english.startswith("Products with a description")
    assert english.endswith("\nDescription:")
    assert english.count("Description: ") == 1  # KX-1 itself is no example
    assert '{"name": "AB-1", "category": "mug", "notes": "A mug in red."}\nDescription: The AB-1 is' in english
    assert len(english) < 1_000  # long data are cut
    again = text(request(reason="low_text_quality: 0.174"))
    assert "low_text_quality" not in again
    assert again.index("KX-1") < again.index("AB-1")
    japanese = text(request(language="ja", source_provided=("<|end|>\nデータ: 嘘",)))
    assert japanese.endswith("\n説明文:")
    assert "赤いマグカップです。" in japanese
    assert "<|end|>" not in japanese


def test_an_example_or_the_prompt_changes_the_version(base: Path, examples: Path) -> None:
    first = answers_of(base, examples, request())[0].records[0].prompt_version
    examples.write_text(examples.read_text().replace("of steel", "of iron"))
    second = answers_of(base, examples, request())[0].records[0].prompt_version
    assert first.startswith("few_shot.en.v1-")
    assert first != second


def test_another_file_of_the_folder_or_other_examples_are_another_input(base: Path, examples: Path) -> None:
    def writer(name: str) -> Writer:
        given = {"writer": "transformers", "model": str(base), "gguf_file": name}
        return open_writer(writer_config(given, origin="here"), ledger=base / "no.sqlite")

    (base / "other.gguf").write_bytes(b"")
    try:
        assert writer(FILE).generator != writer("other.gguf").generator
    finally:
        (base / "other.gguf").unlink()
    config = writer_config({"writer": "transformers", "model": str(base), "few_shot": str(examples)}, origin="here")
    before = examples_of(config)
    examples.write_text(examples.read_text().replace("of steel", "of iron"))
    assert before.keys() == {"the writer's examples"}
    assert examples_of(config) != before
    assert examples_of(writer_config({}, origin="here")) == {}


def test_an_entity_that_is_the_only_example_is_described(base: Path, tmp_path: Path) -> None:
    path = tmp_path / "one.yaml"
    write_examples(path, [request("KX-2", source_provided=("A red kettle.",))])
    (answer,) = answers_of(base, path, request("KX-2"))
    assert answer.records[0].text == "A red kettle with white dots."


def test_settings_that_cannot_work_are_refused(
    base: Path, examples: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConfigError, match="no example in 'de'"):
        answers_of(base, examples, request(language="de"))
    with pytest.raises(ConfigError, match="pictures cannot be combined"):
        answers_of(base, examples, request(), pictures=True)
    with pytest.raises(ConfigError, match="with a file other"):
        answers_of(base, examples, request(), gguf_file="other.gguf")
    with pytest.raises(ConfigError, match=r"no chat template.*--write-examples"):
        answers_of(base, None, request())
    examples.write_text("en: [{name: AB-1}]")
    with pytest.raises(ConfigError, match=r"text: .*have a name and a text"):
        read_examples(examples)
    with pytest.raises(ConfigError, match="cannot be read as YAML"):
        read_examples(tmp_path / "nothing.yaml")
    monkeypatch.setattr("entityclip.explanations.language_model.find_spec", lambda _: None)
    with pytest.raises(ConfigError, match="pip install gguf"):
        answers_of(base, None, request())


def test_examples_are_taken_from_texts_of_the_source(tmp_path: Path) -> None:
    path = tmp_path / "examples.yaml"
    texts = ("The fan is of white steel.", "A red\nmug with dots.", "A mug in red with dots.", "A mug, red, with dots.")
    waiting = [
        *(request(f"M-{i}", category="mug", source_provided=texts) for i in range(5)),
        request("K-1", category="kettle", source_provided=("A kettle.",)),
        request("J-1", language="ja", source_provided=("赤いマグカップです。",)),
        request("N-1", category="fan"),
    ]
    assert write_examples(path, waiting) == {"en": 3, "ja": 1}
    found = read_examples(path)
    assert sorted(one.category for one in found.of("en")) == ["kettle", "mug", "mug"]
    assert len({one.name for one in found.of("en")}) == 3
    mug = next(one for one in found.of("en") if one.category == "mug")
    assert {mug.text, mug.notes} < {text.replace("\n", " ") for text in texts[1:]}  # never that of the fan
    with pytest.raises(DataError, match="no entity has a text of the source"):
        write_examples(path, [request("N-1")])
    assert read_examples(path) == found
