"""How much the words on labels count beside the look, by validation pictures.

The vocabulary of the training pictures is compared with the words on validation pictures, whose look is judged by the
training pictures alone, as in ``calibrate``.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from entityclip.model.checkpoint import LoadedModel
from entityclip.paths import DataLayout
from entityclip.retrieval.index import EntityIndex, PictureIndex
from entityclip.retrieval.label_evidence import HALF, prior
from entityclip.retrieval.label_vocabulary import FACTORS, LabelVocabulary, limited
from entityclip.retrieval.open_set import first_tags, scores
from entityclip.retrieval.picture_labels import label_words
from entityclip.retrieval.vectors import shares

FEWEST = 20
"""Validation pictures with words without which the factor is that of the training pictures."""

TINY = 1e-12
"""Added to each likelihood, so that one picture does not decide alone."""

PICTURES = 1000
"""Validation pictures that are compared, at most: a sample that is the same every time."""


def calibrated_vocabulary(
    model: LoadedModel, data: DataLayout, *, entities: EntityIndex, pictures: PictureIndex, complete: bool = True
) -> LabelVocabulary:
    """The words on the entities' own pictures, and how much they count beside the look.

    Args:
        model: What saw the pictures.
        data: The data version, with its table of labels.
        entities: Index of the data's entities.
        pictures: Index of its pictures, at least of those in train and val.
        complete: Whether the vocabulary holds the words on all pictures that were read, as a service's does; False for
            the training pictures alone, as for an evaluation. The factor is that of the training pictures' vocabulary.

    Raises:
        DataError: The data are incomplete or damaged.
    """
    learned = LabelVocabulary.fit(label_words(data, split="train"))
    factor = _likeliest(learned, model, entities.with_pictures(pictures.of_split("train")), _queries(data, pictures))
    chosen = LabelVocabulary(label_words(data), learned.factor) if complete else learned
    return chosen if factor is None else replace(chosen, factor=factor)


def _queries(data: DataLayout, pictures: PictureIndex) -> tuple[PictureIndex, list[list[str]]]:
    """Validation pictures with words, and their words."""
    known = pictures.of_split("val")
    words = label_words(data, split="val").groupby("pair_id")["word"].agg(list)
    # Pair ids are hashes, so that the first ones are as good as a random draw.
    ids = known.rows["pair_id"][known.rows["pair_id"].isin(words.index)].sort_values()[:PICTURES]
    places = np.sort(ids.index.to_numpy())
    rows = known.rows.iloc[places].reset_index(drop=True)
    return PictureIndex(known.fingerprint, rows, known.vectors[places]), words.reindex(rows["pair_id"]).tolist()


def _likeliest(
    vocabulary: LabelVocabulary,
    model: LoadedModel,
    entities: EntityIndex,
    queries: tuple[PictureIndex, list[list[str]]],
) -> float | None:
    """The one of ``FACTORS`` that makes the pictures' own entities likeliest; None without enough pictures."""
    pictures, words = queries
    if len(words) < FEWEST or vocabulary.words.empty:
        return None
    first, rule = first_tags(entities, pictures.vectors, scale=model.scale), model.card.open_set
    known = np.full(len(words), HALF) if rule is None else scores(rule, first.features)
    truth, rows = entities.rows_of(pictures.rows["entity_id"]), entities.by_id.get_indexer(vocabulary.entities)
    possible, likelihood = np.ones(len(entities.rows)), np.zeros(len(FACTORS))
    for i, picture in enumerate(pictures.vectors):
        confidences = shares(entities.similarities(picture, "mixed"), scale=model.scale)
        look, sums = prior(confidences, possible, known=float(known[i])), vocabulary.sums(words[i])
        for place, factor in enumerate(FACTORS):
            ratios = np.zeros(len(look))
            ratios[rows[rows >= 0]] = limited(factor * sums)[rows >= 0]
            together = look * np.exp(ratios)
            likelihood[place] += np.log(together[truth[i]] / together.sum() + TINY)
    return FACTORS[int(likelihood.argmax())]
