"""Attribute faults in the catalogue's texts, on products that the model was never trained on."""

from __future__ import annotations

import random
from functools import partial
from typing import Any, Literal, NamedTuple

import numpy as np
import pandas as pd

from entityclip.data import pairs
from entityclip.data.ingest import ingest
from entityclip.data.sources.catalog import CatalogSource
from entityclip.data.sources.synthetic.attribute_faults import (
    ATTRIBUTE_FAULTS,
    AttributeFault,
    with_attribute_fault,
)
from entityclip.data.sources.synthetic.japanese import explain_in_japanese
from entityclip.data.sources.synthetic.products import explain, invent
from entityclip.explanations import SourceWriter
from entityclip.explanations import explain as write_explanations
from entityclip.model.checkpoint import LoadedModel
from entityclip.paths import Layout
from entityclip.quality import score_explanations
from entityclip.quality.claims.claim_model import ClaimModel, ClaimPictures, check_claims
from entityclip.quality.claims.claim_table import contradictions, unusual_claims
from entityclip.quality.claims.first_run import first_run_claims
from entityclip.quality.claims.vocabulary import read_vocabulary
from entityclip.quality.model_scores import embed_pictures, score_with_model
from entityclip.quality.text_quality_model import TextQualityModel
from entityclip.quality.tower_pictures import PretrainedTower

SEED = 7
"""That of the built-in catalogue."""
MOST_TEXTS = 1_000_000
TURNS = 4
"""Each product gets the fault in one of so many turns: few products of a category are wrong at a time."""


class Gate(NamedTuple):
    """A model with its text-quality model and its limits for claims, all made from other products."""

    model: LoadedModel
    text_quality: TextQualityModel
    claims: ClaimModel
    tower: PretrainedTower | None = None
    """What sees pictures for the probes; None: the model."""


class UnseenProducts:
    """Products after the first ``seen`` ones, with sound texts.

    Args:
        layout: Where they are drawn.
        seen: Products that the model may have been trained on.
        unseen: How many others.
        language: Of the texts.
    """

    def __init__(self, layout: Layout, *, seen: int, unseen: int, language: Literal["en", "ja"]) -> None:
        source = CatalogSource(layout.drawn, products=seen + unseen, seed=SEED, faults=False, texts=language)
        ingest(source, staging=layout.staging, rejected=layout.rejected(source.name))
        write_explanations(layout.staging, writer=SourceWriter(), ledger=layout.ledger)
        self.data, self.language = layout.staging, language
        self.products = {pairs.entity_id(p.code): p for p in invent(seen + unseen, seed=SEED)[seen:]}
        texts = pairs.read_frame(self.data.explanations)
        new = texts["entity_id"].isin(self.products)
        self.texts, self.known = texts[new].reset_index(drop=True), texts[~new].reset_index(drop=True)
        self.entities = pairs.read_frame(self.data.entities)
        write = explain if language == "en" else explain_in_japanese
        self._forms = {text: form for p in self.products.values() for form, text in write(p, seed=SEED).items()}

    def planted(self, fault: AttributeFault, *, by: Literal["text", "entity"], seed: int) -> pd.DataFrame:
        """The texts, with this fault in one text of every fourth product or in all of its texts; column ``planted``."""
        rng, texts = random.Random(f"{fault}/{seed}"), self.texts["text"].tolist()
        planted = np.zeros(len(texts), dtype=bool)
        for entity, rows in list(self.texts.groupby("entity_id").groups.items())[seed % TURNS :: TURNS]:
            wrong = with_attribute_fault(self.products[str(entity)], fault, language=self.language, seed=SEED, rng=rng)
            for row in rows if by == "entity" else [rng.choice(list(rows))]:
                texts[row], planted[row] = wrong[self._forms[texts[row]]], True
        return self.texts.assign(text=texts, planted=planted)


def measured(products: UnseenProducts, gate: Gate) -> dict[str, Any]:
    """Percent of the planted and of the sound texts that the gate finds, by what finds them."""
    wanted = set(products.texts["entity_id"])
    by_tower = None if gate.tower is None else gate.tower.pictures(products.data, wanted)
    pictures = ClaimPictures(embed_pictures(gate.model, products.data, wanted), by_tower)
    judge = partial(_judged, products=products, gate=gate, pictures=pictures)
    sound, claims = judge(products.texts, np.ones(len(products.texts), dtype=bool))
    found: dict[str, Any] = {
        "false_alarms": _percent(sound),
        "claims": len(claims),
        "verdicts": (100 * claims["verdict"].value_counts(normalize=True)).round(1).to_dict(),
        "by_attribute": {
            str(name): (100 * part["verdict"].value_counts(normalize=True)).round(1).to_dict()
            for name, part in claims.groupby("attribute")
        },
    }
    for by in ("text", "entity"):
        shares, every = {}, 0
        for fault in ATTRIBUTE_FAULTS:
            parts = []
            for seed in range(TURNS):
                texts = products.planted(fault, by=by, seed=seed)
                chosen = texts["planted"].to_numpy()
                if by == "entity":  # the four texts of a product are alike; one of them is judged
                    chosen = chosen & ~texts["entity_id"].duplicated().to_numpy()
                parts.append(judge(texts, chosen)[0])
            shares[fault] = _percent(pd.concat(parts))
            every += sum(map(len, parts))
        found[by] = {"planted": every, "found": shares}
    return found


def measured_on_a_first_run(products: UnseenProducts, tower: PretrainedTower) -> dict[str, Any]:
    """Percent of the planted and of the sound texts with a contradicted claim, where no champion judges: a pretrained
    tower looks at all products, and the source has sound texts of them."""
    pictures = tower.pictures(products.data, set(products.entities["entity_id"]))
    source, vocabulary = pairs.read_frame(products.data.source_provided), read_vocabulary()

    def accused(texts: pd.DataFrame) -> float:
        claims = first_run_claims(texts, source, products.entities, pictures, vocabulary)
        assert claims is not None
        return round(100 * float(contradictions(claims, len(texts)).notna().mean()), 1)

    found: dict[str, Any] = {"tower": tower.name, "false_alarms": accused(products.texts), "found": {}}
    for fault in ATTRIBUTE_FAULTS:
        turns = [products.planted(fault, by="text", seed=seed) for seed in range(TURNS)]
        planted = pd.concat([texts[texts["planted"]] for texts in turns], ignore_index=True)
        found["found"][fault] = accused(planted)
    return found


def _judged(
    texts: pd.DataFrame, chosen: np.ndarray, *, products: UnseenProducts, gate: Gate, pictures: ClaimPictures
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """What finds each of the chosen texts, and their claims."""
    scored = score_with_model(
        gate.model, score_explanations(texts, products.entities), products.data, seen=pictures.by_judge
    )
    low = gate.text_quality.probability(scored) < gate.text_quality.threshold
    batch = pd.concat([texts, products.known], ignore_index=True)
    rows = np.r_[chosen, np.zeros(len(products.known), dtype=bool)]
    claims = check_claims(gate.model, gate.claims, batch, products.entities, pictures, most_texts=MOST_TEXTS, rows=rows)
    found = {
        "low_text_quality": low.to_numpy(),
        "contradicted_claim": contradictions(claims, len(texts)).notna().to_numpy(),
        "unusual_claim": unusual_claims(claims, len(texts)).notna().to_numpy(),
    }
    return pd.DataFrame(found).assign(any=np.any(list(found.values()), axis=0))[chosen], claims


def _percent(found: pd.DataFrame) -> dict[str, float]:
    return {str(name): round(100 * float(share), 1) for name, share in found.mean().items()}
