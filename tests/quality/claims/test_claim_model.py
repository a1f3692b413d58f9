"""Verdicts on claims by a judge that sees exactly some attributes: what it sees is checked, what it does not is not."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from functools import cache
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from entityclip.data.sources.synthetic.attribute_faults import AttributeFault, with_attribute_fault
from entityclip.data.sources.synthetic.drawing import COLOURS
from entityclip.data.sources.synthetic.products import explain, invent
from entityclip.quality.claims import exchange
from entityclip.quality.claims.category import FEWEST_OTHERS
from entityclip.quality.claims.claim_model import ClaimModel, ClaimPictures, check_claims, fit_limits
from entityclip.quality.claims.claim_table import claim_counts, contradictions, unusual_claims
from entityclip.quality.claims.exchange import NO_PICTURE, OVER_LIMIT, ExchangedClaim, ExchangePlan, StatedClaim
from entityclip.quality.claims.limits import AttributeLimits, verdict_on
from entityclip.quality.claims.split import Claim
from entityclip.quality.claims.vocabulary import read_vocabulary
from entityclip.quality.model_scores import EntityPictures

PRODUCTS = invent(120, seed=7)
ENTITIES = pd.DataFrame(
    {
        "entity_id": [p.code for p in PRODUCTS],
        "entity": [p.code for p in PRODUCTS],
        "aliases": None,
        "category": [p.look.kind for p in PRODUCTS],
    }
)
TEXTS = pd.DataFrame(
    [(p.code, form, text, "en") for p in PRODUCTS for form, text in explain(p, seed=7).items()],
    columns=["entity_id", "explanation_id", "text", "language"],
)


class SeesColours:
    """A judge whose pictures show the colours of a text and nothing else of it; it reads every word."""

    dim = 64
    card: Any = SimpleNamespace(config={}, fingerprint="sees colours")

    def embed_texts(self, texts: Sequence[str]) -> np.ndarray:
        return np.stack([unit(sum(map(direction, re.findall(r"[a-z]+", text.lower())))) for text in texts])

    def pictures(self) -> EntityPictures:
        noise = np.random.default_rng(0).normal(size=(len(PRODUCTS), self.dim)) / 30
        shown = [direction(p.look.body) + 2 * direction(p.look.accent) for p in PRODUCTS]
        return EntityPictures(
            [p.code for p in PRODUCTS], np.stack([unit(v + n) for v, n in zip(shown, noise, strict=True)])
        )


@cache
def direction(word: str) -> np.ndarray:
    values = np.random.default_rng(list(word.encode())).normal(size=64)
    return values * (3 if word in COLOURS else 1) / 64**0.5


def unit(vector: Any) -> np.ndarray:
    return (vector / np.linalg.norm(vector)).astype(np.float32)


JUDGE: Any = SeesColours()
PICTURES = JUDGE.pictures()
PLAN = ExchangePlan(read_vocabulary(), 10**6)


@pytest.fixture(scope="module")
def limits() -> ClaimModel:
    return fit_limits(JUDGE, TEXTS, ENTITIES, PICTURES, PLAN)


def checked(limits: ClaimModel, texts: pd.DataFrame, *, most_texts: int = 10**6) -> pd.DataFrame:
    return check_claims(JUDGE, limits, texts, ENTITIES, ClaimPictures(PICTURES), most_texts=most_texts)


def with_fault(fault: AttributeFault) -> pd.DataFrame:
    """One text of each product, with the fault."""
    wrong = [
        with_attribute_fault(p, fault, language="en", seed=7, rng=random.Random(p.code))["explanation_b"]
        for p in PRODUCTS
    ]
    return TEXTS[TEXTS["explanation_id"] == "explanation_b"].reset_index(drop=True).assign(text=wrong)


def test_sound_texts_are_rarely_accused_and_what_cannot_be_seen_is_not_passed_as_true(limits: ClaimModel) -> None:
    claims = checked(limits, TEXTS)
    assert contradictions(claims, len(TEXTS)).notna().mean() <= 0.04
    verdicts = claims.groupby("attribute")["verdict"].agg(lambda some: set(some))
    assert verdicts["label"] == verdicts["part"] == {"not checkable"}
    assert "supported" in verdicts["colour"]
    reasons = set(claims.loc[claims["attribute"] == "label", "reason"])
    assert all(re.fullmatch(r"the model finds \d+% of the exchanged values of label", reason) for reason in reasons)
    counts = {count.attribute: count for count in claim_counts(claims)}
    assert (counts["label"].supported, counts["label"].not_checkable) == (0, len(TEXTS))


@pytest.mark.parametrize(
    ("fault", "least", "most"), [("colour", 0.85, 1), ("second_colour", 0.85, 1), ("label", 0, 0.05)]
)
def test_a_planted_fault_is_contradicted_where_the_judge_sees_it(
    limits: ClaimModel, fault: AttributeFault, least: float, most: float
) -> None:
    texts = with_fault(fault)
    wrong = contradictions(checked(limits, texts), len(texts))
    assert least <= wrong.notna().mean() <= most
    if fault == "colour":
        assert wrong.dropna().str.contains(r"^colour '\w+': the pictures fit '\w+' better").all()


def test_a_colour_that_a_text_leaves_out_does_not_contradict_the_one_that_it_states(limits: ClaimModel) -> None:
    two = [p for p in PRODUCTS if p.look.body != p.look.accent]
    true = [p.look.body for p in two]  # the pictures show the other one more clearly
    wrong = [next(name for name in COLOURS if name not in (p.look.body, p.look.accent)) for p in two]

    def accused(colours: list[str]) -> float:
        texts = [f"This is a {name} {p.look.kind}." for p, name in zip(two, colours, strict=True)]
        owners = [p.code for p in two]
        table = pd.DataFrame({"entity_id": owners, "explanation_id": owners, "text": texts, "language": "en"})
        return float(contradictions(checked(limits, table), len(table)).notna().mean())

    assert accused(true) <= 0.1
    assert accused(wrong) > 0.8


@pytest.mark.parametrize(
    ("stated", "fit", "verdict"),
    [
        (2, (0.0, 5.0, 4.0, -1.0), "contradicted"),
        (1, (0.0, 5.0, 4.0, -1.0), "contradicted"),  # two others fit better, and the text leaves out one
        (1, (0.0, 5.0, -1.0, -2.0), "not checkable"),
        (1, (0.0, 5.0), "not checkable"),  # the only alternative may be what it leaves out
        (1, (9.0, 5.0, 4.0, -1.0), "supported"),
    ],
)
def test_as_many_alternatives_are_passed_over_as_the_text_leaves_out(
    stated: int, fit: tuple[float, ...], verdict: str
) -> None:
    values = ("red", "blue", "green", "black")
    limits = AttributeLimits(
        language="en",
        attribute="colour",
        values=values,
        claims=100,
        scales=(1.0,),
        constants=(0.0,) * 4,
        stated_at_once=2,
        contradicted_below=-1.0,
        supported_above=1.0,
        caught=0.9,
        false_alarms=0.01,
        supported=0.9,
    )
    claim = StatedClaim(0, "en", Claim("colour", "red", ((0, 3),)))
    exchanged = ExchangedClaim(claim, values[: len(fit)], np.array(fit)[:, None], "")
    assert verdict_on(exchanged, limits, stated=stated).verdict == verdict


def test_values_that_a_text_states_are_counted_over_all_its_claims() -> None:
    """Those beyond the limit of exchanged texts as well."""
    few = fit_limits(JUDGE, TEXTS, ENTITIES, PICTURES, ExchangePlan(read_vocabulary(), 8000))
    assert {one.stated_at_once for one in few.attributes if one.attribute == "colour"} == {2}


def test_what_hardly_any_other_text_of_the_category_says_is_unusual(
    limits: ClaimModel,
) -> None:
    sound = unusual_claims(checked(limits, TEXTS, most_texts=0), len(TEXTS))
    assert sound.notna().mean() < 0.02
    faults: tuple[AttributeFault, ...] = ("part", "material", "count")
    for fault in faults:
        planted = TEXTS.copy()
        (row,) = np.flatnonzero((TEXTS["entity_id"] == crowded()) & (TEXTS["explanation_id"] == "explanation_b"))
        planted.loc[row, "text"] = with_fault(fault).set_index("entity_id").at[crowded(), "text"]
        claims = checked(limits, planted, most_texts=0)
        (found,) = claims[(claims["position"] == row) & (claims["attribute"] == fault)].to_dict("records")
        assert (found["stated_by"], found["unusual"]) == (0, True)
        assert "others" in unusual_claims(claims, len(planted))[row]


def crowded() -> str:
    """A product of a category with enough others."""
    sizes = ENTITIES.groupby("category")["entity_id"].transform("size")
    return str(ENTITIES.loc[sizes > FEWEST_OTHERS, "entity_id"].iloc[0])


def test_the_held_out_figures_hold_on_what_is_planted(limits: ClaimModel) -> None:
    colour = next(one for one in limits.attributes if one.attribute == "colour")
    assert colour.caught > 0.85
    assert colour.false_alarms < 0.03
    assert colour.contradicted_below <= 0
    assert colour.supported_above >= colour.contradicted_below
    assert limits.judge == "sees colours"


def test_claims_without_a_picture_and_beyond_the_limit_are_not_checkable(limits: ClaimModel) -> None:
    strange = pd.concat([TEXTS[:4], TEXTS[4:8].assign(entity_id="unknown")], ignore_index=True)
    claims = checked(limits, strange)
    assert set(claims.loc[claims["position"] >= 4, "reason"]) == {NO_PICTURE}
    assert claims.loc[claims["position"] >= 4, "evidence"].isna().all()
    few = checked(limits, TEXTS, most_texts=200)
    beyond = few["reason"] == OVER_LIMIT
    assert 0.9 < beyond.mean() < 1
    assert set(few.loc[beyond, "verdict"]) == {"not checkable"}
    assert len(few) == len(checked(limits, TEXTS))


def test_a_value_that_is_no_alternative_to_others_is_neither_learned_nor_judged(monkeypatch) -> None:
    monkeypatch.setattr(exchange, "MOST_VALUES", 6)
    few = fit_limits(JUDGE, TEXTS, ENTITIES, PICTURES, PLAN)
    (colours,) = (set(one.values) for one in few.attributes if one.attribute == "colour")
    assert len(colours) == 6
    claims = checked(few, TEXTS)
    claims = claims[claims["attribute"] == "colour"]
    rare = ~claims["value"].isin(colours)
    assert set(claims.loc[rare, "verdict"]) == {"not checkable"}
    assert claims.loc[rare, "reason"].str.startswith("the data state this value too rarely").all()
    assert (claims.loc[~rare, "verdict"] == "contradicted").mean() <= 0.04


def test_next_to_nothing_is_no_crash(limits: ClaimModel) -> None:
    assert checked(limits, TEXTS[:0]).empty
    assert claim_counts(checked(limits, TEXTS[:0])) == ()
    assert contradictions(checked(limits, TEXTS[:0]), 0).empty
    nothing = TEXTS[:3].assign(text="Nothing that could be seen.")
    assert checked(limits, nothing).empty
    assert contradictions(checked(limits, nothing), 3).isna().all()
    few = fit_limits(JUDGE, TEXTS[:8], ENTITIES, PICTURES, PLAN)
    assert few.attributes == ()
    assert set(checked(few, TEXTS[:8])["verdict"]) == {"not checkable"}
