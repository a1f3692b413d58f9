"""Who looks at a batch beside the rules on words: the model in service, and what sound texts look like to it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prefect import get_run_logger

from entityclip.errors import CheckpointError, ConfigError, DataError
from entityclip.explain.config import AskedConfig
from entityclip.layout import Layout
from entityclip.quality.soundness import SoundnessModel
from entityclip.review import read_reviews
from entityclip.workspace import read_config
from expectations.judges import Judges
from flows import registry

if TYPE_CHECKING:
    from entityclip.checkpoint import LoadedModel


def judges(layout: Layout) -> Judges:
    """The champion with its idea of sound texts, and the domain's rules; what is not there yet is left out."""
    asked = read_config(layout.config).explain
    domain = asked.rules if isinstance(asked, AskedConfig) else None
    champion = _champion(layout)
    return Judges(champion, _soundness(champion, layout) if champion else None, domain)


def _champion(layout: Layout) -> LoadedModel | None:
    """The model in service, if there is one that this code can load."""
    current = registry.champion(layout)
    if current is None:
        return None
    from entityclip import checkpoint  # loads torch, as below: only who looks waits for it

    try:
        return checkpoint.load(registry.fetch_release(layout, current.version).model)
    except CheckpointError as error:
        get_run_logger().warning("%s cannot look at this batch: %s", current.version, error)
        return None


def _soundness(champion: LoadedModel, layout: Layout) -> SoundnessModel | None:
    """What the champion takes for sound: learned once for each champion, from the data version before this batch."""
    known = SoundnessModel.read(layout.soundness)
    if known is not None and known.learned_from.get("judge") == champion.card.fingerprint:
        return known
    from entityclip.soundness import learn_soundness

    try:
        learned = learn_soundness(champion, layout.data, reviews=read_reviews(layout.reviews))
    except (ConfigError, DataError) as error:
        get_run_logger().warning("what sound texts look like to the champion cannot be learned: %s", error)
        return None
    learned.write(layout.soundness)
    return learned
