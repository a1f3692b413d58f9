"""Model card and data card: the figures on record, for people."""

from __future__ import annotations

import re
from pathlib import Path

from tiny import tiny_data, tiny_model

from entityclip.architectures import settings
from entityclip.data.pairs import PAIRS, iter_rows, write_rows
from entityclip.paths import DataLayout
from entityclip.reports.cards import MOST, annex_iv, data_card, model_card
from entityclip.schemas import (
    EvalReport,
    Metric,
    PackageCard,
    PromotionDecision,
    PromotionPolicy,
    QualityReport,
    Release,
    RuleResult,
)

RELEASE = Release(version="v1.2.0", commit="c" * 40, model_fingerprint="m", data_hash="d.dir")
PACKAGE = PackageCard(release=RELEASE, suite_hash="s", licences=("CC BY 4.0",))
DECISION = PromotionDecision(
    promoted=True,
    reasons=("R@1 rose by 3.0 points",),
    challenger="m",
    champion="v1.1.0",
    data_hash="d.dir",
    suite_hash="s",
    evaluation_hash="e",
    policy=PromotionPolicy(),
)


def metric(name: str, value: float, slice: str = "all") -> Metric:
    ends = {"low": value - 2, "high": value + 2, "queries": 1234}
    where = {"index": "mixed", "direction": "image_to_text", "slice": slice, "name": name, "value": value}
    return Metric.model_validate(where | ends)


def evaluation() -> EvalReport:
    recalls = [metric(name, value + step, slice) for name, step in (("R@1", 0), ("R@5", 9)) for slice, value in SLICES]
    open_set = [metric("coverage_at_0.9", 44.0), metric("false_accept_at_0.9", 6.9), metric("precision_at_0.9", 97.8)]
    return EvalReport(
        model_fingerprint="m",
        evaluation_hash="e",
        split="test",
        pictures=1234,
        entities=300,
        metrics=tuple(recalls),
        open_set=tuple(open_set),
        seconds=1.0,
    )


SLICES = (("all", 80.0), ("frequent", 88.0), ("none", 63.2))


def test_the_model_card_has_every_slice_with_its_interval_and_names_the_weakest(tmp_path: Path) -> None:
    card = tiny_model(tmp_path).card
    text = model_card(PACKAGE, card, decision=DECISION, evaluation=evaluation(), runtimes=["torch", "onnx"])
    assert text.startswith("# Model card: entityclip-model v1.2.0\n")
    assert "| none | 1,234 | 63.2 [61.2, 65.2] | 72.2 [70.2, 74.2] |" in text
    assert "The weakest slice is *none*: R@1 63.2." in text
    assert "| 0.9 | 44.0 | 97.8 | 6.9 |" in text
    assert "| runtimes | torch, onnx |" in text
    assert "- R@1 rose by 3.0 points" in text
    bare = model_card(PACKAGE, card, decision=DECISION, evaluation=None, runtimes=["torch"])
    assert "No evaluation is on record." in bare


def test_the_data_card_counts_pictures_and_names_the_rules_that_failed(tmp_path: Path) -> None:
    data = tiny_data(tmp_path)
    failed = RuleResult(
        suite="pairs", rule="picture_twice", column=None, severity="critical", passed=False, checked=40, failed=3
    )
    quality = QualityReport(
        accepted_pairs=37,
        accepted_explanations=5,
        quarantined_pairs=3,
        quarantined_explanations=0,
        quarantine_file=None,
        refused=False,
        rules=(failed, failed.model_copy(update={"rule": "no_licence", "passed": True})),
        suite_hash="s",
        validation_page=None,
    )
    text = data_card(PACKAGE, DataLayout(data.root), quality=quality)
    assert "| picture_twice | critical | 40 | 3 |" in text
    assert "no_licence" not in text
    assert "| licences | CC BY 4.0 |" in text
    assert "Explanations by writer:" in text
    assert "No quality report is on record." in data_card(PACKAGE, data, quality=None)


def test_text_of_sources_stays_in_its_cell_and_every_licence_is_named(tmp_path: Path) -> None:
    data = tiny_data(tmp_path)
    hostile = "[free](https://bad.example) | 9\n\n# Approved `x` ![i](j) <img> _a_b_ ~c~"
    train = list(iter_rows(data.pairs, name="train"))
    licences = [f"licence {n}" for n in range(len(train) - 1)]
    named = [row | {"licence": name, "source": name} for row, name in zip(train, [*licences, hostile], strict=True)]
    write_rows(data.pairs, PAIRS, named, name="train")
    package = PACKAGE.model_copy(update={"licences": (hostile,)})
    text = data_card(package, data, quality=None)
    shown = r"\[free](https://bad.example) \| 9 \# Approved \`x\` !\[i](j) &lt;img&gt; \_a_b\_ \~c\~"
    assert f"| licences | {shown} |" in text
    assert f"| {shown} | 1 |" in text
    assert not re.search(r"^# Approved", text, flags=re.MULTILINE)
    assert all(f"| {licence} | 1 |" in text for licence in licences)
    sources = text.partition("Pictures by source:")[2].partition("Pictures by licence:")[0]
    assert f"| others | {len(train) + 1 - MOST} |" in sources
    assert "others" not in text.partition("Pictures by licence:")[2].partition("Explanations by writer:")[0]
    reasons = DECISION.model_copy(update={"reasons": ("category=a\n# b is worse",)})
    card = model_card(package, tiny_model(tmp_path / "m").card, decision=reasons, evaluation=None, runtimes=["torch"])
    assert r"- category=a \# b is worse" in card


def test_a_model_whose_architecture_is_content_has_a_card(tmp_path: Path) -> None:
    card = tiny_model(tmp_path).card
    towers = card.model.towers.model_copy(update={"architecture": settings(card.model.towers.architecture)})
    given = card.model_copy(update={"model": card.model.model_copy(update={"towers": towers})})
    text = model_card(PACKAGE, given, decision=DECISION, evaluation=None, runtimes=["torch"])
    assert "| encoders | the architecture given as content |" in text


def documentation(tmp_path: Path, **changed: object) -> str:
    known = {"decision": DECISION, "evaluation": evaluation(), "quality": None, "runtimes": ["torch", "onnx"]}
    return annex_iv(PACKAGE, tiny_model(tmp_path).card, **(known | changed))


def test_the_technical_documentation_has_the_nine_points_and_says_what_to_fill(tmp_path: Path) -> None:
    text = documentation(tmp_path / "a")
    assert re.findall(r"^## (\d)\. ", text, re.MULTILINE) == list("123456789")
    assert re.findall(r"^- \((\w)\) ", text, re.MULTILINE) == list("abcdefghabcdefgh")
    assert "R@1 80.0 % [78.0, 82.0] over all queries. Weakest group: *none*, 63.2 %" in text
    assert "At the target precision 0.9, 6.9 % of such pictures got a sure tag." in text
    assert "it was trained from scratch" in text
    assert text.count("**To fill") >= 12
    rules = (RuleResult(suite="pairs", rule="leak", column="", severity="critical", checked=9, failed=2, passed=False),)
    quality = QualityReport.model_construct(rules=rules)
    assert "1 rules checked the last batch; 1 were broken" in documentation(tmp_path / "b", quality=quality)


def test_the_technical_documentation_of_a_model_without_figures_says_so(tmp_path: Path) -> None:
    text = documentation(tmp_path / "a", evaluation=None)
    assert "no recall is on record" in text
    assert "no evaluation is on record" in text
