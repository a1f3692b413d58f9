"""The split of a picture whose row names none: by the hash of the picture, or with its whole entity."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from entityclip.data.pairs import split_of
from entityclip.errors import ConfigError
from entityclip.schemas import Record, Split


class SplitShares(Record):
    """Shares of the splits, for pictures without a split of their own. Impossible ones are refused by ``checked``."""

    val: float = Field(default=0.1, description="Share of the pictures that go to val, 0 to 1.")
    test: float = Field(default=0.1, description="Share of the pictures that go to test, 0 to 1.")
    entity_holdout: float = Field(
        default=0.0,
        description="Share of the entities of which no picture is trained on, the never-photographed slice: half of "
        "them go to val, half to test.",
    )
    sealed: float = Field(
        default=0.0,
        description="Share of the pictures that go to sealed. With it, as many entities as in test are held out of "
        "training for sealed. Both are taken from train alone.",
    )

    @classmethod
    def checked(
        cls, *, val: float = 0.1, test: float = 0.1, entity_holdout: float = 0.0, sealed: float = 0.0
    ) -> SplitShares:
        """Validate the shares.

        Raises:
            ConfigError: A share is below 0, or nothing is left for train.
        """
        held_out = entity_holdout * (1.5 if sealed else 1)
        if min(val, test, entity_holdout, sealed) < 0 or val + test + sealed >= 1 or held_out >= 1:
            raise ConfigError(
                f"val_share {val}, test_share {test}, sealed_share {sealed}, entity_holdout {entity_holdout}: expected "
                "0 or more each; val, test and sealed together below 1; the holdout below 1, with a sealed share below "
                "two thirds"
            )
        return cls(val=val, test=test, entity_holdout=entity_holdout, sealed=sealed)


USUAL_SHARES = SplitShares()
"""A tenth for val, a tenth for test."""


def draw_split(image_sha256: str, *, entity_id: str, shares: SplitShares) -> Split:
    """The split of a picture without a split of its own.

    The hash of the picture decides, so that the same picture with two captions is never in two splits; of an entity
    that is held out, ``held_out`` does. Of one that is held out for sealed, what would be trained on is sealed.
    """
    whole = held_out(entity_id, shares=shares)
    if whole in ("val", "test"):
        return whole
    drawn = split_of(image_sha256, val=shares.val, test=shares.test, sealed=shares.sealed)
    return "sealed" if (drawn, whole) == ("train", "sealed") else drawn


def held_out(entity_id: str, *, shares: SplitShares) -> Literal["val", "test", "sealed"] | None:
    """What the entity is held out of training for; None if it is not. All its pictures go to val, or all to test."""
    half = shares.entity_holdout / 2
    found = split_of(entity_id, val=half, test=half, sealed=half if shares.sealed else 0.0)
    return None if found == "train" else found
