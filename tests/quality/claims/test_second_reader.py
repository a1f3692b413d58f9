"""The verdict of two readers on a claim, which texts are read, and how far readers agree."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import cohen_kappa_score  # type: ignore[import-untyped]

from entityclip.quality.claims.agreement import NOT_REVIEWED, ReviewedClaims, reader_agreement, reviewed_claims
from entityclip.quality.claims.claim_table import write_claims
from entityclip.quality.claims.second_reader import AGREEMENT_TEXTS, texts_to_read, with_answers
from entityclip.quality.review import Review

YES, NO, UNSURE = "supported", "contradicted", "not checkable"


def table(verdicts: list[str], **columns: Any) -> pd.DataFrame:
    """One claim in each text, of an entity of its own."""
    names = [f"e{i}" for i in range(len(verdicts))]
    reasons = ["the pictures fit 'blue' better" if verdict == NO else "" for verdict in verdicts]
    claims = pd.DataFrame({"position": range(len(names)), "explanation_id": names, "entity_id": names})
    return claims.assign(attribute="colour", value="red", verdict=verdicts, reason=reasons, **columns)


@pytest.mark.parametrize(
    ("champion", "answer", "one", "both"),
    [
        (YES, "yes", YES, YES),
        (YES, "cannot see", YES, YES),
        (YES, "", YES, YES),
        (YES, "no", NO, UNSURE),
        (NO, "yes", NO, UNSURE),
        (NO, "cannot see", NO, UNSURE),
        (NO, "", NO, UNSURE),
        (NO, "no", NO, NO),
        (UNSURE, "yes", YES, YES),
        (UNSURE, "no", NO, UNSURE),
        (UNSURE, "cannot see", UNSURE, UNSURE),
        (UNSURE, "", UNSURE, UNSURE),
    ],
)
def test_the_verdict_of_two_readers(champion: str, answer: str, one: str, both: str) -> None:
    claims = table([champion])
    for setting, expected in (("one", one), ("both", both)):
        found = with_answers(claims, pd.Series([answer]), pd.Series([True]), contradicted_by=setting).iloc[0]
        assert (found["verdict"], found["champion_verdict"], found["reader_answer"]) == (expected, champion, answer)
        if champion == NO and expected == UNSURE:
            assert found["reason"].startswith("the pictures fit 'blue' better; the second reader ")


def test_the_drawn_texts_and_the_contradicted_ones_are_read_first() -> None:
    verdicts = [NO if i % 10 == 0 else UNSURE for i in range(300)]
    claims = table(verdicts)
    every = texts_to_read(claims, claims, contradicted_by="one")
    assert sorted(every.positions) == list(range(300))
    assert every.positions[:AGREEMENT_TEXTS] == every.drawn
    wrong = {i for i, verdict in enumerate(verdicts) if verdict == NO}
    after = every.positions[AGREEMENT_TEXTS:]
    assert set(after[: len(wrong - set(every.drawn))]) == wrong - set(every.drawn)
    few = texts_to_read(claims, claims, contradicted_by="both")
    assert set(few.positions) == wrong | set(few.drawn)
    shuffled = claims.sample(frac=1, random_state=0).reset_index(drop=True)
    assert texts_to_read(shuffled, claims, contradicted_by="one").drawn == every.drawn


def test_kappa_is_that_of_the_textbook() -> None:
    draw = np.random.default_rng(0)
    first = draw.choice([YES, NO, UNSURE], size=200, p=[0.6, 0.2, 0.2])
    second = np.where(draw.random(200) < 0.8, np.where(first == NO, "no", "yes"), draw.choice(["yes", "no"], 200))
    claims = table(list(first), champion_verdict=first, reader_answer=second, drawn=True)
    (found,) = reader_agreement(claims)
    both = first != UNSURE
    kappa = cohen_kappa_score(first[both] == NO, second[both] == "no")
    assert (found.judged, found.compared) == (200, int(both.sum()))
    assert found.kappa == pytest.approx(kappa)
    assert found.low is not None
    assert found.high is not None
    assert found.low < kappa < found.high


def test_readers_that_never_contradict_have_no_kappa() -> None:
    claims = table([YES] * 5, champion_verdict=YES, reader_answer="yes", drawn=True)
    (found,) = reader_agreement(claims)
    assert (found.same, found.kappa) == (1.0, None)


def test_without_a_second_reader_there_is_no_agreement() -> None:
    assert reader_agreement(None) == ()
    assert reader_agreement(table([YES, NO])) == ()


def test_decisions_meet_the_claims_of_earlier_batches(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    known = {"champion_verdict": UNSURE, "drawn": False}
    old, new, foreign = (tmp_path / name for name in ("old.parquet", "new.parquet", "foreign.parquet"))
    write_claims(old, table([UNSURE] * 4, reader_answer=["yes", "yes", "no", "yes"], **known))
    write_claims(new, table([UNSURE] * 4, reader_answer=["no", "yes", "no", "yes"], **known))
    write_claims(foreign, table([UNSURE] * 4))  # of a time without a second reader
    damaged = tmp_path / "damaged.parquet"
    damaged.write_bytes(b"PAR1 half")
    decided = [("e0", "reject"), ("e1", "accept"), ("e2", "edit"), ("gone", "accept")]
    reviewed = reviewed_claims([review(*one) for one in decided], [old, foreign, damaged, new])
    assert "damaged.parquet" in caplog.text
    (found,) = reader_agreement(table([UNSURE], champion_verdict=UNSURE, reader_answer="", drawn=False), reviewed)
    assert (found.first, found.second, found.what) == ("second reader", "people", "texts")
    assert (found.compared, found.same, found.kappa) == (3, 1.0, 1.0)  # e0 was read before, though not in this batch


def test_no_reviews_read_no_files(tmp_path: Path) -> None:
    assert reviewed_claims([], [tmp_path / "missing.parquet"]) == NOT_REVIEWED
    assert reviewed_claims([review("e", "accept")], []) == ReviewedClaims({"e": False})


def review(explanation_id: str, decision: str) -> Review:
    return Review.model_validate(
        {
            "explanation_id": explanation_id,
            "entity_id": explanation_id,
            "entity": "E",
            "rules": "contradicted_claim",
            "text": "A red thing.",
            "decision": decision,
            "edited_text": "A blue thing." if decision == "edit" else "",
            "reviewer": "Aiko",
            "minutes": 1,
            "day": "2026-01-05",
        }
    )
