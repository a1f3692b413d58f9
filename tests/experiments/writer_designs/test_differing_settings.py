"""In what the settings of designs differ."""

from __future__ import annotations

from entityclip.experiments.writer_designs.differing_settings import differing_settings


def test_settings_and_examples_are_compared_by_key() -> None:
    long = {
        "long.yaml": "{writer: transformers, few_shot: l.yaml}",
        "l.yaml": "en: [{text: A}]",
    }
    short = {"short.yaml": "{writer: transformers, max_tokens: 9, few_shot: s.yaml}", "s.yaml": "en: [{text: B}]"}
    found = differing_settings([long, short])
    assert found.equal == ["writer"]
    assert found.different == {
        "few_shot": ["l.yaml", "s.yaml"],
        "max_tokens": [None, "9"],
        "example en 1 text": ["A", "B"],
    }
    assert differing_settings([{"a": "{writer: source}"}, {}]).different == {"writer": ["source", None]}
