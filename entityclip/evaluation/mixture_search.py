"""Joint search of the mixed index's weights: all groups of entities at once, because they compete for every picture.

Raising one group's scale or offset takes pictures from all others, so that no group can be improved alone. The
objective is recall@1, softened so that it does not hang on a few pictures that just tip over, averaged over the
groups; a group that falls behind its best single index is penalised.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from entityclip.retrieval.index.entities import NO_PICTURES
from entityclip.retrieval.index.mixture import GROUPS, KINDS
from entityclip.schemas import IndexKind, Mixture, MixtureGroup

MARGIN = 0.01
"""What a group may fall below its best single index without a penalty: 1 point of recall."""

SHORTFALL = 4.0
"""Penalty multiplier for what a group falls below that. At 1, the most photographed products paid for the gain of those
that were never photographed.
"""

RIVALS = 24
"""Entities of each group that are compared with a picture: those that come nearest in any of the single indexes."""

STEPS = 2400
"""Random changes that are tried; their size shrinks on the way. 600 end a point lower on other pictures."""

LARGEST, SMALLEST = 0.3, 0.02
"""Standard deviation of a change of a weight at the first and at the last step."""

OFFSET = 0.2
"""Size of a change of an offset, as a share of that of a weight: similarities of rivals lie close together."""

MISSING: dict[MixtureGroup, tuple[IndexKind, ...]] = {"none": ("images",), "unexplained": ("explanation",)}
"""What entities of a group do not have, so that it gets no weight."""

LEADERS: dict[MixtureGroup, tuple[MixtureGroup, ...]] = {
    "frequent": ("few", "one"),
    "few": ("one", "frequent"),
    "one": ("few", "frequent"),
    "none": ("one", "few", "frequent"),
    "untrained": ("one", "few", "frequent"),
    "unexplained": ("untrained", "one", "few", "frequent"),
}
"""Groups that a group without queries follows: the first of them that has queries. Its entities compete for every
picture and are never the right answer here, so that on its own it would be left behind for nothing.
"""

TRAINED = ("frequent", "few", "one")
"""Groups that follow in their weights, too: the same kinds are known of all of them."""

ABSENT = -1000.0
"""Stands for the similarity with an entity that there is not."""

Parameters = np.ndarray
"""(groups, 4) caption, explanation, images, times scale each, and offset."""


@dataclass(frozen=True, eq=False)
class Queries:
    """Q pictures with the entities that compete for them."""

    rivals: tuple[np.ndarray, ...]
    """For each group (Q, R, 3) similarities with its nearest entities but the right one; ``ABSENT`` where fewer."""
    true: np.ndarray
    """(Q, 3) similarities with the right entity."""
    group: np.ndarray
    """(Q,) number of the right entity's group."""
    entity: np.ndarray
    """(Q,) number of the right entity."""

    def chosen(self, rows: np.ndarray) -> Queries:
        """Some of them."""
        rivals = tuple(part[rows] for part in self.rivals)
        return Queries(rivals, self.true[rows], self.group[rows], self.entity[rows])

    @classmethod
    def joined(cls, parts: Sequence[Queries]) -> Queries:
        """All queries of some sets."""
        rivals = tuple(np.concatenate(column) for column in zip(*(part.rivals for part in parts), strict=True))
        true, group, entity = (
            np.concatenate([getattr(part, name) for part in parts]) for name in ("true", "group", "entity")
        )
        return cls(rivals, true, group, entity)


def queries_of(similarities: np.ndarray, *, truth: np.ndarray, groups: np.ndarray) -> Queries:
    """Queries from (Q, M, 3) similarities of pictures with entities in ``KINDS``.

    Args:
        similarities: Of each picture with each entity.
        truth: (Q,) row of the right entity.
        groups: (M,) group of each entity, as ``groups_of`` gives it.
    """
    row = np.arange(len(truth))
    spread = similarities.std(axis=1, keepdims=True) + 1e-6
    nearness = ((similarities - similarities.mean(axis=1, keepdims=True)) / spread).max(axis=2)
    nearness[row, truth] = -np.inf
    rivals = []
    for g in range(len(GROUPS)):
        members = np.flatnonzero(groups == g)
        near = members[np.argsort(-nearness[:, members], axis=1, kind="stable")[:, :RIVALS]]
        part = np.full((len(truth), RIVALS, len(KINDS)), ABSENT, np.float32)
        part[:, : near.shape[1]] = similarities[row[:, None], near]
        part[:, : near.shape[1]][near == truth[:, None]] = ABSENT
        rivals.append(part)
    return Queries(tuple(rivals), similarities[row, truth], groups[truth], truth)


class Objective:
    """What a mixture is worth on some queries; remembers the parts that a change of one group leaves as they are.

    Args:
        queries: Pictures that are searched with.
        scale: What similarities are multiplied by in the softmax.
        single: (groups,) softened recall of each group in its best single index; by default that of ``queries``.
    """

    def __init__(self, queries: Queries, *, scale: float, single: np.ndarray | None = None) -> None:
        self._queries, self._scale = queries, scale
        self.groups = np.unique(queries.group)
        self.single = self._best_single() if single is None else single

    def recalls(self, parameters: Parameters) -> np.ndarray:
        """(groups,) softened recall@1 of each group; nan without queries."""
        return self._recalls(parameters, self.rivalry(parameters))

    def rivalry(self, parameters: Parameters) -> np.ndarray:
        """(groups, Q) log of the summed odds of each group's wrong entities."""
        return np.stack([self.rivals_of(g, parameters[g]) for g in range(len(GROUPS))])

    def rivals_of(self, group: int, its: np.ndarray) -> np.ndarray:
        """(Q,) the same for one group with its parameters (4,)."""
        logits = self._scale * (self._queries.rivals[group] @ its[:3].astype(np.float32) + its[3])
        highest = logits.max(axis=1)
        return highest + np.log(np.exp(logits - highest[:, None]).sum(axis=1))

    def worth(self, parameters: Parameters, rivalry: np.ndarray | None = None) -> float:
        """Mean recall of the groups, less the penalty of those that fall behind.

        ``rivalry`` is that of these parameters, where it is known.
        """
        rivalry = self.rivalry(parameters) if rivalry is None else rivalry
        reached, single = self._recalls(parameters, rivalry)[self.groups], self.single[self.groups]
        return float(np.mean(reached - SHORTFALL * np.maximum(0, single - MARGIN - reached)))

    def right(self, parameters: Parameters, rivalry: np.ndarray | None = None) -> np.ndarray:
        """(Q,) share of the right entity among all, which softens whether it comes first."""
        rivalry = self.rivalry(parameters) if rivalry is None else rivalry
        queries, its = self._queries, parameters[self._queries.group]
        true = self._scale * ((queries.true * its[:, :3]).sum(axis=1) + its[:, 3])
        against = np.logaddexp.reduce(rivalry, axis=0)
        return 1 / (1 + np.exp(np.clip(against - true, -60, 60)))

    def _recalls(self, parameters: Parameters, rivalry: np.ndarray) -> np.ndarray:
        group, right = self._queries.group, self.right(parameters, rivalry)
        with np.errstate(invalid="ignore"):
            return np.bincount(group, right, minlength=len(GROUPS)) / np.bincount(group, minlength=len(GROUPS))

    def _best_single(self) -> np.ndarray:
        """(groups,) recall of each group in its best single index."""
        singles = []
        for column, kind in enumerate(KINDS):
            parameters = np.zeros((len(GROUPS), 4))
            parameters[:, column] = 1
            parameters[GROUPS.index("none"), 3] = NO_PICTURES if kind == "images" else 0
            singles.append(self.recalls(parameters))
        return np.max(singles, axis=0)


def searched(
    objective: Objective, start: Parameters, *, seed: int, kinds: Sequence[str] = KINDS, steps: int = STEPS
) -> Parameters:
    """The parameters that random changes of one group at a time lead to, of which each that is better is kept.

    Only groups with queries are changed, and only the weights of ``kinds``; the others follow (``LEADERS``): in
    everything, or in scale and offset alone where less is known of their entities. Beginning elsewhere than at the
    default fits the queries better and other pictures worse.
    """
    rng, followers = np.random.default_rng(seed), _followers(objective.groups)
    free = np.array([*(kind in kinds for kind in KINDS), True])
    found, rivalry = start.copy(), objective.rivalry(start)
    worth = objective.worth(found, rivalry)
    size_of = np.array([1, 1, 1, OFFSET])
    for step in range(steps):
        size = LARGEST * (SMALLEST / LARGEST) ** (step / steps)
        group = int(rng.choice(objective.groups))
        change = rng.normal(size=4) * size * size_of * free * (rng.random(4) < 0.5)
        change[:3][[kind in MISSING.get(GROUPS[group], ()) for kind in KINDS]] = 0
        tried = found.copy()
        tried[group] += change
        tried[group, :3] = np.maximum(tried[group, :3], 0)
        if tried[group, :3].sum() < 0.1:
            continue
        for other in followers[group]:
            tried[other] = _following(tried[group], start[other], whole=GROUPS[other] in TRAINED)
        against = rivalry.copy()
        for moved in (group, *followers[group]):
            against[moved] = objective.rivals_of(moved, tried[moved])
        if (reached := objective.worth(tried, against)) > worth:
            found, rivalry, worth = tried, against, reached
    return found


def entities_by_group(slices: pd.Series, queried: np.ndarray) -> np.ndarray:
    """(groups,) how many entities each group with queries stands for: its own, and those of the groups that follow it.

    An entity that was not trained on is in any of three groups, by what it has at the time, and counts a third in each.
    """
    count = slices.value_counts()
    own = np.array([count.get(name, 0) if name in TRAINED else count.get("none", 0) / 3 for name in GROUPS])
    found = np.zeros(len(GROUPS))
    for leader, others in _followers(queried).items():
        found[leader] = own[[leader, *others]].sum()
    return found


def _followers(queried: np.ndarray) -> dict[int, list[int]]:
    """Group with queries -> the groups without that follow it."""
    followers: dict[int, list[int]] = {int(group): [] for group in queried}
    for group, name in enumerate(GROUPS):
        if group not in followers:
            leaders = (GROUPS.index(leader) for leader in LEADERS[name])
            leader = next((number for number in leaders if number in followers), None)
            if leader is not None:
                followers[leader].append(group)
    return followers


def _following(leader: np.ndarray, its: np.ndarray, *, whole: bool) -> np.ndarray:
    """(4,) a group's parameters, which were ``its``, once those of its leader are these."""
    if whole:
        return leader
    return np.append(its[:3] / its[:3].sum() * leader[:3].sum(), its[3] + leader[3])


def parameters_of(mixture: Mapping[MixtureGroup, Mixture]) -> Parameters:
    """(groups, 4) of a whole mixture."""
    rows = [(mixture[g].caption, mixture[g].explanation, mixture[g].images, mixture[g].scale) for g in GROUPS]
    table = np.array(rows)
    return np.column_stack([table[:, :3] * table[:, 3:], [mixture[g].offset for g in GROUPS]])


def mixture_of(parameters: Parameters) -> dict[MixtureGroup, Mixture]:
    """The mixture with these parameters."""
    found: dict[MixtureGroup, Mixture] = {}
    for group, (caption, explanation, images, offset) in zip(GROUPS, parameters.tolist(), strict=True):
        scale = caption + explanation + images
        weights = (round(caption / scale, 4), round(images / scale, 4))
        rest = round(1 - sum(weights), 4)
        found[group] = Mixture(
            caption=weights[0],
            explanation=max(0, rest),
            images=weights[1],
            scale=round(scale, 4),
            offset=round(offset, 4),
        )
    return found
