"""Texts of designs about the same entities, side by side: each claim with its verdict, and a colour with its part."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import pandas as pd

from entityclip.data.pairs import digest, read_frame
from entityclip.experiments.writer_designs.comparison import DesignComparison, JudgedDesign
from entityclip.paths import DataLayout
from entityclip.quality.claims.claim_examples import pictures_of
from entityclip.quality.claims.source_colours import COLOUR, ColourReader, SourceColours, source_contradictions
from entityclip.quality.claims.vocabulary import Vocabulary

EXAMPLES = 8
"""Entities whose texts are shown side by side."""


class CheckingModel(NamedTuple):
    """What checked the claims."""

    fingerprint: str
    """Of the model; '' where none did."""
    release: str
    """Of the model, where it is the champion of a workspace; else ''."""
    vocabulary: Vocabulary
    """Words that state a claim."""
    tower: str = ""
    """Name of the pretrained tower that checked them without a model; '' where none did."""


class ComparedDesigns(NamedTuple):
    """What a page is about."""

    comparison: DesignComparison
    designs: Sequence[JudgedDesign]
    sample: Sequence[str]
    """Ids of the entities."""
    data: DataLayout
    """Where the entities and their pictures are."""
    judge: CheckingModel


class ShownClaim(NamedTuple):
    """A claim of a text on the page."""

    attribute: str
    value: str
    owners: list[str]
    """Parts and patterns that have this colour; '' for anything else, which is the body or not clear."""
    verdict: str
    """'' where claims were not checked."""
    unusual: bool
    source: SourceColours | None
    """What the source says instead, where it contradicts the claim."""
    fits_better: str
    """What the pictures fit better, where they contradict the claim."""


class ShownText(NamedTuple):
    """A text of a design on the page."""

    text: str
    language: str
    rules: list[str]
    """Critical rules that it breaks."""
    claims: list[ShownClaim]


class ShownEntity(NamedTuple):
    """An entity with its pictures and a text of each design."""

    name: str
    pictures: list[bytes]
    texts: list[ShownText | None]


def shown_entities(compared: ComparedDesigns) -> list[ShownEntity]:
    """The entities on which the verdicts of the designs differ most; a hash decides between equal ones."""
    known = read_frame(compared.data.entities, columns=["entity_id", "entity"]).drop_duplicates("entity_id")
    names = known.set_index("entity_id")["entity"].loc[list(compared.sample)]
    merits = pd.DataFrame({i: _merit(design) for i, design in enumerate(compared.designs)})
    merits = merits.reindex(names.index).fillna(0.0)
    spread = (merits.max(axis=1) - merits.min(axis=1)).to_dict()
    order = sorted(names.index, key=lambda entity: (-spread[entity], digest("example", entity)))[:EXAMPLES]
    pictures = pictures_of(compared.data, set(order))
    source, words = read_frame(compared.data.source_provided), compared.judge.vocabulary
    source = source[source["entity_id"].isin(order)]
    columns = [_shown_texts(design, order, source, words) for design in compared.designs]
    return [
        ShownEntity(str(names[entity]), pictures.get(entity, []), [column.get(entity) for column in columns])
        for entity in order
    ]


def _merit(design: JudgedDesign) -> pd.Series:
    """Of each entity: supported claims less contradicted ones."""
    if design.claims is None:
        return pd.Series(dtype=float)
    points = design.claims["verdict"].map({"supported": 1.0, "contradicted": -1.0}).fillna(0.0)
    return points.groupby(design.claims["entity_id"]).sum()


def _shown_texts(
    design: JudgedDesign, entities: Sequence[str], source: pd.DataFrame, vocabulary: Vocabulary
) -> dict[str, ShownText]:
    """Entity id -> the first text of a design about it."""
    texts, reader = design.written.texts.reset_index(drop=True), ColourReader(vocabulary)
    claims = design.stated if design.claims is None else design.claims
    by_source = source_contradictions(texts, source, vocabulary)
    first = texts[texts["entity_id"].isin(entities)].drop_duplicates("entity_id")
    found = {}
    for place, row in first.iterrows():
        text, language = str(row["text"]), str(row["language"] or "")
        owners = reader.owners(text, language)
        other = {colour: why for (at, colour), why in by_source.items() if at == place}
        found[str(row["entity_id"])] = ShownText(
            text=text,
            language=language,
            rules=design.broken.loc[design.broken["position"] == place, "rule"].tolist(),
            claims=list(_shown_claims(claims[claims["position"] == place], owners, other)),
        )
    return found


def _shown_claims(
    claims: pd.DataFrame, owners: Mapping[str, list[str]], by_source: Mapping[str, SourceColours]
) -> Iterator[ShownClaim]:
    rows: list[dict[Any, Any]] = claims.to_dict("records")
    for row in rows:
        attribute, value, verdict = row["attribute"], row["value"], row.get("verdict", "")
        wrong = verdict == "contradicted"
        source = by_source.get(value) if wrong and attribute == COLOUR else None
        better = row.get("best_alternative") if wrong and source is None else None
        yield ShownClaim(
            attribute=attribute,
            value=value,
            owners=([source.owner] if source else owners.get(value, [""])) if attribute == COLOUR else [""],
            verdict=verdict,
            unusual=bool(row.get("unusual", False)),
            source=source,
            fits_better=better if isinstance(better, str) else "",
        )
