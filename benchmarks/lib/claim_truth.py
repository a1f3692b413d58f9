"""What is true of the drawn products, claim by claim, and what the gate finds of it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import pandas as pd

from entityclip.data import pairs
from entityclip.data.sources.synthetic.japanese import _WORDS, explain_in_japanese
from entityclip.data.sources.synthetic.products import Product, explain
from entityclip.data.sources.synthetic.silhouettes import SILHOUETTES
from entityclip.quality.claims.split import ClaimSplitter
from entityclip.quality.claims.vocabulary import Vocabulary

ALSO_DRAWN: dict[str, frozenset[str]] = {
    "kettle": frozenset({"spout", "knob", "lid", "注ぎ口", "つまみ", "蓋"}),
    "fan": frozenset({"base", "台座"}),
    "clock": frozenset({"legs", "脚"}),
    "toaster": frozenset({"switch", "button", "knob", "スイッチ", "ボタン", "つまみ"}),
    "radio": frozenset({"antenna", "アンテナ"}),
    "camera": frozenset({"button", "ボタン"}),
    "backpack": frozenset({"strap", "handle", "肩紐", "取っ手"}),
}
"""Parts that the pictures of a kind show and its sound texts never name."""
UNJUDGED = frozenset({"count"})
"""Attributes of which the generator knows no truth for every part; ``one`` is also a pronoun."""

Language = Literal["en", "ja"]
_LABEL_WORDS = {"en": "label|sticker|nameplate|name plate", "ja": "ラベル|シール|銘板"}
_LABEL_COLOURS = frozenset({"white", "白"})
_WORDS_BETWEEN, _NEAR = r"(?:[a-z-]+ ){0,2}", 48


class ClaimJudge:
    """Judges claims of texts about drawn products.

    The sound texts of a product, in all their forms, name both colours, the pattern, the label and one part: these
    claims are true, and so are parts that are drawn too. A colour is true if it belongs to what the text says has it:
    the body, or the pattern and the part, or the label, which is white. Where the words do not say what has it, either
    of the two is true. No product has a material: every material is invented.

    Args:
        products: entity_id -> product.
        language: Of the texts.
        seed: That of the catalogue.
        vocabulary: The words that state a value.
    """

    def __init__(
        self, products: Mapping[str, Product], *, language: Language, seed: int, vocabulary: Vocabulary
    ) -> None:
        self._products, self._language = products, language
        self._splitter = ClaimSplitter(vocabulary)
        write = explain if language == "en" else explain_in_japanese
        self._true = {
            key: {
                (claim.attribute, claim.value)
                for text in write(product, seed=seed).values()
                for claim in self._splitter.claims(text, language)
            }
            | {("part", part) for part in ALSO_DRAWN.get(product.look.kind, ())}
            for key, product in products.items()
        }
        kinds = list(SILHOUETTES) if language == "en" else [_WORDS[kind] for kind in SILHOUETTES]
        words = {a: [s for v in vocabulary.values(language).get(a, ()) for s in v] for a in ("part", "pattern")}
        second = "|".join(map(re.escape, sorted([*words["part"], *words["pattern"]], key=len, reverse=True)))
        between = _WORDS_BETWEEN if language == "en" else "の?"
        self._after = {
            "label": re.compile(rf"\s*{between}(?:{_LABEL_WORDS[language]})", re.IGNORECASE),
            "body": re.compile(rf"\s*{between}(?:{'|'.join(kinds)})", re.IGNORECASE),
            "second": re.compile(rf"\s*{between}(?:{second})", re.IGNORECASE),
        }
        part_is = rf"(?:{second})(?: is| are|は|の色は)[^.,;。、]{{0,16}}$"
        self._part_is = re.compile(part_is, re.IGNORECASE)

    def true(self, entity_id: str, text: str) -> dict[tuple[str, str], bool]:
        """Attribute and value of each claim of the text -> whether it is true, wherever the text states it."""
        claims = self._splitter.claims(text, self._language)
        return {
            (claim.attribute, claim.value): all(
                self._colour(entity_id, text, claim.value, span) for span in claim.spans
            )
            if claim.attribute == "colour"
            else self.has(entity_id, claim.attribute, claim.value)
            for claim in claims
        }

    def has(self, entity_id: str, attribute: str, value: str) -> bool:
        """Whether the product has the value anywhere."""
        return (attribute, value) in self._true[entity_id]

    def _colour(self, entity_id: str, text: str, value: str, span: tuple[int, int]) -> bool:
        look = self._products[entity_id].look
        names = (look.body, look.accent) if self._language == "en" else (_WORDS[look.body], _WORDS[look.accent])
        body, second = names
        match self._owner(text, span):
            case "label":
                return value in _LABEL_COLOURS
            case "body":
                return value == body
            case "second":
                return value == second
            case _:
                return value in names

    def _owner(self, text: str, span: tuple[int, int]) -> str:
        """What the words beside a colour say has it: label, body or second; empty where they do not say."""
        after = text[span[1] : span[1] + _NEAR]
        if self._part_is.search(text[max(0, span[0] - _NEAR) : span[0]]):
            return "second"
        found = {name: match.end() for name, pattern in self._after.items() if (match := pattern.match(after))}
        return min(found, key=found.__getitem__) if found else ""


def judged(claims: pd.DataFrame, texts: pd.DataFrame, judge: ClaimJudge) -> pd.DataFrame:
    """The claims of these texts whose truth is known: ``claim_table.COLUMNS``, ``true`` and ``misplaced``.

    Misplaced is a colour that the product has, and not where the text says.
    """
    truth = {row.explanation_id: judge.true(str(row.entity_id), str(row.text)) for row in texts.itertuples()}
    known = claims[claims["explanation_id"].isin(truth) & ~claims["attribute"].isin(UNJUDGED)].reset_index(drop=True)
    rows = list(known[["explanation_id", "entity_id", "attribute", "value"]].itertuples(index=False, name=None))
    true = np.array([truth[key][attribute, value] for key, _, attribute, value in rows], dtype=bool)
    there = np.array([judge.has(entity, attribute, value) for _, entity, attribute, value in rows], dtype=bool)
    return known.assign(true=true, misplaced=~true & there)


def claim_figures(claims: pd.DataFrame, aside: set[str]) -> dict[str, Any]:
    """Figures of judged claims.

    Args:
        claims: From ``judged``.
        aside: explanation_id of the texts that the gate sets aside.
    """
    wrong, gone = ~claims["true"], claims["explanation_id"].isin(aside)
    checked, accused = claims["verdict"] != "not checkable", claims["verdict"] == "contradicted"
    unusual = claims["unusual"].astype(bool)
    doubted = gone | claims["explanation_id"].isin(claims.loc[accused, "explanation_id"])
    texts = claims.assign(gone=gone).groupby("explanation_id").agg(true=("true", "all"), gone=("gone", "first"))
    return {
        "missed_claims": {
            str(name): f"{int((~part['gone']).sum())} of {len(part)}"
            for name, part in claims.assign(gone=gone)[wrong].groupby("attribute")
        },
        "misplaced_colours": claims.loc[claims["misplaced"], "verdict"].value_counts().to_dict(),
        "claims": len(claims),
        "true_share": _share(claims["true"]),
        "true_share_after_gate": _share(claims.loc[~gone, "true"]),
        "true_share_without_contradicted": _share(claims.loc[~doubted, "true"]),
        "checkable_share": _share(checked),
        "caught_wrong_claims": _share(accused[wrong & checked]),
        "reported_wrong_claims": _share((accused | unusual)[wrong]),
        "reported_true_claims": _share((accused | unusual)[~wrong]),
        "wrong_claims_set_aside": _share(gone[wrong]),
        "false_alarms": _share(accused[~wrong & checked]),
        "true_texts": int(texts["true"].sum()),
        "true_texts_set_aside": _share(texts.loc[texts["true"], "gone"]),
        "by_attribute": {
            str(name): {
                "claims": len(part),
                "true_share": _share(part["true"]),
                "verdicts_of_wrong": part.loc[~part["true"], "verdict"].value_counts().to_dict(),
                "verdicts_of_true": part.loc[part["true"], "verdict"].value_counts().to_dict(),
            }
            for name, part in claims.groupby("attribute")
        },
    }


def _share(mask: pd.Series) -> float | None:
    return round(float(mask.mean()), 3) if len(mask) else None


def copied_share(texts: pd.DataFrame, sources: pd.DataFrame) -> float | None:
    """Share of texts that are, word for word, a text that the data provide of the same entity."""
    known = {(row.entity_id, pairs.normalised(str(row.text))) for row in sources.itertuples()}
    rows = texts.itertuples()
    return _share(pd.Series([(row.entity_id, pairs.normalised(str(row.text))) in known for row in rows], dtype=bool))
