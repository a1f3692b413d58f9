"""Scores of pairs, computed from the columns without opening a picture."""

from __future__ import annotations

import pandas as pd

from entityclip.data.rights import DEFAULT_RIGHTS, Rights
from entityclip.data.split_groups import ALIKE, seen_in_training

_TRAINING_ORDER = {"train": 0, "val": 1, "test": 2, "sealed": 3}


def score_pairs(
    pairs: pd.DataFrame, *, rights: Rights = DEFAULT_RIGHTS, near: pd.DataFrame | None = None
) -> pd.DataFrame:
    """``pairs`` with these columns added:

    - ``caption_length``: characters of the caption without outer space, 0 and up; 0 when it is missing.
    - ``shorter_side``: pixels of the picture's shorter side.
    - ``elongation``: longer side by shorter side, 1 and up; banners and strips are far above 3.
    - ``duplicate_of``: pair id of the row with the same picture of the same entity that comes first in training
      order (train, val, test, sealed); empty for that first row. Detects a picture that is listed twice.
    - ``also_shows``: another entity that has the very same picture; on every row of that picture, since the
      right one is unknown here.
    - ``leaked_from``: ``train`` on a row of another split whose picture is also trained on, which would inflate recall.
    - ``nearly_leaked_from``: on a row of val or test, the pair id of a training picture of the same entity that is its
      near duplicate, or of one of its ``split_group``.
    - ``nearly_shows``: another entity that a near duplicate of the picture is listed under.
    - ``no_right``: the licence or the consent by which ``rights`` refuses the row.

    Pictures are the same when their bytes are; a picture that was saved again is a near duplicate. ``near`` has those,
    as ``read_near_duplicates`` gives them; without it, both columns of near duplicates are empty.
    """
    scored = pairs.copy()
    scored["caption_length"] = pairs["caption"].fillna("").str.strip().str.len().astype("int64")
    shorter, longer = pairs[["width", "height"]].min(axis=1), pairs[["width", "height"]].max(axis=1)
    scored["shorter_side"] = shorter
    scored["elongation"] = longer / shorter.where(shorter > 0)
    scored["duplicate_of"] = _duplicate_of(pairs)
    scored["also_shows"] = _also_shows(pairs)
    scored["leaked_from"] = _leaked_from(pairs)
    found = pd.DataFrame(columns=["image_sha256", "near_sha256", "kind"]) if near is None else near
    scored["nearly_leaked_from"] = seen_in_training(pairs, found)
    scored["nearly_shows"] = _nearly_shows(pairs, found)
    scored["no_right"] = _no_right(pairs, rights)
    return scored


def _duplicate_of(pairs: pd.DataFrame) -> pd.Series:
    order = pairs["split"].map(_TRAINING_ORDER).fillna(len(_TRAINING_ORDER)).sort_values(kind="stable").index
    same = pairs.loc[order].groupby(["image_sha256", "entity_id"], sort=False)["pair_id"]
    first, nth = same.transform("first"), same.cumcount()
    return first.where(nth > 0).astype("str").reindex(pairs.index)


def _also_shows(pairs: pd.DataFrame) -> pd.Series:
    # Few pictures have several entities; only those are looked at one by one.
    owners = pairs.groupby("image_sha256")["entity_id"].transform("nunique")
    shared = pairs.loc[owners > 1]
    names = shared.groupby("image_sha256")["entity"].agg(lambda entities: sorted(set(entities)))
    others = [
        next(name for name in names[picture] if name != entity or len(names[picture]) == 1)
        for picture, entity in zip(shared["image_sha256"], shared["entity"], strict=True)
    ]
    return pd.Series(others, index=shared.index, dtype="str").reindex(pairs.index)


def _leaked_from(pairs: pd.DataFrame) -> pd.Series:
    trained = set(pairs.loc[pairs["split"] == "train", "image_sha256"])
    leaked = (pairs["split"] != "train") & pairs["image_sha256"].isin(trained)
    return pd.Series("train", index=pairs.index, dtype="str").where(leaked)


def _nearly_shows(pairs: pd.DataFrame, near: pd.DataFrame) -> pd.Series:
    known = pairs.drop_duplicates("image_sha256").set_index("image_sha256")
    alike = near.loc[near["kind"] == ALIKE, ["image_sha256", "near_sha256"]]
    both = pd.concat([alike, alike.rename(columns={"image_sha256": "near_sha256", "near_sha256": "image_sha256"})])
    of_one, of_other = (both[column].map(known["entity_id"]) for column in ("image_sha256", "near_sha256"))
    others = both[of_one.notna() & of_other.notna() & (of_one != of_other)].drop_duplicates("image_sha256")
    names = others.set_index("image_sha256")["near_sha256"].map(known["entity"])
    return pairs["image_sha256"].map(names).astype("str").where(pairs["image_sha256"].isin(names.index))


def _no_right(pairs: pd.DataFrame, rights: Rights) -> pd.Series:
    silent = pd.Series("", index=pairs.index)  # data of an earlier version have no consent
    licences, consents = (pairs.get(column, silent).fillna("") for column in ("licence", "consent"))
    missing = pd.Series(rights.missing_each(licences=licences, consents=consents), index=pairs.index, dtype="str")
    return missing.where(missing != "")
