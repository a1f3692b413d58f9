"""Who looks at a batch beside the rules on words: the model in service, and what sound texts look like to it."""

from __future__ import annotations

from typing import NamedTuple

from prefect import get_run_logger

from entityclip import checkpoint
from entityclip.checkpoint import LoadedModel
from entityclip.errors import CheckpointError, ConfigError, DataError
from entityclip.layout import Layout
from entityclip.quality.soundness import SoundnessModel
from entityclip.review import read_reviews
from entityclip.soundness import learn_soundness
from flows.registry import champion, fetch_release


class Judges(NamedTuple):
    """None for what is not there yet; the rules that need it are then skipped aloud."""

    champion: LoadedModel | None
    soundness: SoundnessModel | None


def judges(layout: Layout) -> Judges:
    """The champion, and what it takes for sound: learned once for each champion, from the data version before this
    batch."""
    current = champion(layout)
    if current is None:
        return Judges(None, None)
    try:
        model = checkpoint.load(fetch_release(layout, current.version).model)
    except CheckpointError as error:
        get_run_logger().warning("%s cannot look at this batch: %s", current.version, error)
        return Judges(None, None)
    known = SoundnessModel.read(layout.soundness)
    if known is not None and known.learned_from.get("judge") == model.card.fingerprint:
        return Judges(model, known)
    try:
        learned = learn_soundness(model, layout.data, reviews=read_reviews(layout.reviews))
    except (ConfigError, DataError) as error:
        get_run_logger().warning("what sound texts look like to %s cannot be learned: %s", current.version, error)
        return Judges(model, None)
    learned.write(layout.soundness)
    return Judges(model, learned)
