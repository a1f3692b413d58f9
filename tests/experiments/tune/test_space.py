"""Which explanations a search leaves out, and what a trial would cost."""

from __future__ import annotations

import pandas as pd
import pytest
from test_study import CONFIG
from tiny import tiny_data

from entityclip.data import pairs
from entityclip.experiments.tune.cost import seconds_per_epoch
from entityclip.experiments.tune.space import Proposal, without_poor_explanations
from entityclip.paths import DataLayout
from entityclip.quality import score_explanations
from entityclip.quality.quality_score import quality_score

SOUND = "A round kettle with a red lid and two black handles."


def explained(*texts: str, root) -> DataLayout:
    """Tiny data whose first entities have these texts."""
    data = tiny_data(root)
    ids = pairs.read_frame(data.entities)["entity_id"]
    empty = dict.fromkeys(pairs.EXPLANATIONS.names, "") | {"language": "en"}
    rows = [empty | {"entity_id": i, "text": text} for i, text in zip(ids, texts, strict=False)]
    pairs.write_rows(data.explanations, pairs.EXPLANATIONS, rows, name="explanations")
    return data


def qualities(data: DataLayout) -> list[float]:
    texts, entities = pairs.read_frame(data.explanations), pairs.read_frame(data.entities)
    return quality_score(score_explanations(texts, entities)).tolist()


def test_quality_is_one_for_a_sound_text_and_less_for_a_poor_one(tmp_path):
    texts = (SOUND, "Round kettle.", "so red so red so red so red so red so red", "As an AI, I cannot see " + SOUND)
    sound, short, circling, refusing = qualities(explained(*texts, root=tmp_path))
    assert sound == 1
    assert short == pytest.approx(2 / 8)
    assert 0 < circling < 0.3
    assert refusing == 0


def test_text_about_several_entities_counts_by_their_number(tmp_path):
    assert qualities(explained(SOUND, SOUND, root=tmp_path)) == [0.5, 0.5]


def test_poor_explanations_are_left_out_and_nothing_else_is(tmp_path):
    data, to = explained(SOUND, "Round kettle.", root=tmp_path / "all"), DataLayout(tmp_path / "good")
    assert without_poor_explanations(data, to, min_quality=0.5) == 1
    assert pairs.read_frame(to.explanations)["text"].tolist() == [SOUND]
    for part in ("pairs", "entities"):
        pd.testing.assert_frame_equal(pairs.read_frame(getattr(to, part)), pairs.read_frame(getattr(data, part)))
    assert pairs.require_complete(to) == pairs.require_complete(data)
    assert without_poor_explanations(data, to, min_quality=0.5) == 1  # a second time finds it done


def test_data_without_any_explanation_left_can_still_be_read(tmp_path):
    data, to = explained("Kettle.", root=tmp_path / "all"), DataLayout(tmp_path / "good")
    assert without_poor_explanations(data, to, min_quality=0.75) == 1
    assert pairs.read_frame(to.explanations).empty


def test_proposal_changes_what_it_names_and_nothing_else():
    proposal = Proposal.of(CONFIG).model_copy(update={"text_experts": 3, "beta": 0.5})
    applied = proposal.applied(CONFIG, epochs=9)
    assert (applied.model.experts.text, applied.loss.beta, applied.epochs) == (3, 0.5, 9)
    back = Proposal.of(CONFIG).applied(applied, epochs=CONFIG.epochs)
    assert back == CONFIG


def test_cost_grows_with_the_pictures(tmp_path):
    data = tiny_data(tmp_path)
    few = seconds_per_epoch(CONFIG, data)
    assert 0 < few < 60
    rows = [*pairs.iter_rows(data.pairs, name="train")]
    pairs.write_rows(data.pairs, pairs.PAIRS, rows * 1000, name="train")
    assert seconds_per_epoch(CONFIG, data) > 10 * few
