"""Near duplicates among pictures: re-encodings, resized copies, crops and photographs of one burst.

Pictures are compared as thumbnails of 32 x 32 pixels, at which size people still recognise a picture (Torralba, Fergus
and Freeman, 80 Million Tiny Images, PAMI 2008). Two are near duplicates if one correlates with the other, or with a
window of it that keeps four fifths of the area and more: normalised cross-correlation (Lewis, Fast Template Matching,
1995), with the mean of each colour channel removed. Brightness does not count, and the contrast of a channel may differ
by half; a plain surface resembles nothing. Only nearest neighbours by a coarser thumbnail are compared, so that the
cost grows about linearly.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from PIL import Image

SIDE = 32
"""Side of a thumbnail, pixels."""
NEARLY = 0.95
"""Correlation from which two pictures are near duplicates; ``benchmarks/near_duplicates.py`` shows what it finds."""
NEIGHBOURS = 12
"""Nearest pictures by the coarser thumbnail that each picture is compared with."""
EXACT = 20_000
"""Pictures up to which the search for neighbours is exact."""
_PROBES = 16
"""Nearest lists of an approximate search in which each picture is looked for."""
_GRID, _COARSE = 8, 4
"""Parts of a picture's side for the comparison, and for the search of neighbours."""
_COARSELY = 0.8
"""Least correlation by the coarser parts."""
_PLAIN = 1.1
"""Contrast (standard deviation, grey levels) below which a picture is a plain surface."""
_CONTRASTS, _FAINT = 1.5, 8.0
"""How many times the contrast of one picture that of the other may be in a colour channel: black, grey and green
articles of one shape on white are three things. Contrasts below ``_FAINT`` grey levels are not compared."""
_WINDOW_SIDES = (1.0, 0.97, 0.935, 0.9)
"""Sides of the windows, as a share of the picture's."""
_CHUNK = 512
_WIDTH = 8
"""Neighbours that are compared with the windows of a picture at a time."""

Pairs = tuple[np.ndarray, np.ndarray]
"""(P,) and (P,) int64: rows of the first and of the second picture."""


def thumbnail(picture: Image.Image) -> np.ndarray:
    """(32, 32, 3) uint8 of an RGB picture."""
    return np.asarray(picture.resize((SIDE, SIDE), Image.Resampling.BOX, reducing_gap=2.0))


def near_duplicate_pairs(thumbnails: np.ndarray, entity: np.ndarray, *, exact: int = EXACT) -> Pairs:
    """The near duplicates among N pictures, each pair once, the first picture before the second.

    A picture with more than ``NEIGHBOURS`` near duplicates is linked with the nearest ones only, of its entity and of
    all; through these, ``connected`` finds the others.

    Args:
        thumbnails: (N, 32, 32, 3) uint8; a memory map is read in pieces.
        entity: (N,) int64, what each picture shows. Its own pictures are compared however many others look like it.
        exact: With more pictures than this, the search for neighbours is approximate.
    """
    if len(thumbnails) < 2:
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    coarse, wholes, contrasts = _vectors(thumbnails)
    first, second = _candidates(coarse, entity, exact=exact)
    near = _likeness(thumbnails, wholes, contrasts, first, second) >= NEARLY
    first, second = first[near], second[near]
    found = np.unique(np.minimum(first, second) * len(thumbnails) + np.maximum(first, second))
    return np.divmod(found, len(thumbnails))


def connected(first: np.ndarray, second: np.ndarray, count: int) -> np.ndarray:
    """(count,) int64 labels of pictures, equal where pairs link them, also through other pictures (union-find)."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    graph = coo_array((np.ones(len(first), bool), (first, second)), shape=(count, count))
    return connected_components(graph, directed=False)[1].astype(np.int64)


# ---------------------------------------------------------------- candidates
def _vectors(thumbnails: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(N, 48) float32 of the coarse parts and (N, 192) float16 of the parts, of norm 1 without channel means; and
    (N, 3) float32 contrasts of the channels.
    """
    coarse = np.zeros((len(thumbnails), 3 * _COARSE**2), np.float32)
    wholes = np.zeros((len(thumbnails), 3 * _GRID**2), np.float16)
    contrasts = np.zeros((len(thumbnails), 3), np.float32)
    whole, pair = _window_maps()[0], _GRID // _COARSE
    for i in range(0, len(thumbnails), _CHUNK):
        parts = _windows(thumbnails[i : i + _CHUNK], whole)
        larger = parts.reshape(-1, 3, _COARSE, pair, _COARSE, pair).mean(axis=(3, 5))
        coarse[i : i + _CHUNK] = _unit(larger.reshape(-1, 3, _COARSE**2))
        wholes[i : i + _CHUNK] = _unit(parts[:, 0])
        contrasts[i : i + _CHUNK] = _contrasts(parts)[:, 0]
    return coarse, wholes, contrasts


def _unit(parts: np.ndarray) -> np.ndarray:
    """(B, 3, D) -> (B, 3 * D) without the mean of each channel, of norm 1; shorter where there is no contrast."""
    centred = (parts - parts.mean(axis=2, keepdims=True)).reshape(len(parts), -1)
    norm = np.linalg.norm(centred, axis=1, keepdims=True)
    return centred / np.maximum(norm, _PLAIN * centred.shape[1] ** 0.5)


def _candidates(coarse: np.ndarray, entity: np.ndarray, *, exact: int) -> Pairs:
    """Pairs to compare, each in both orders, sorted by the first."""
    order = np.argsort(entity, kind="stable")
    of_entities = np.split(order, np.flatnonzero(np.diff(entity[order])) + 1)
    sets = (order, *(rows for rows in of_entities if 1 < len(rows) < len(order)))
    first, second = np.concatenate([rows[_neighbours(coarse[rows], exact=exact)] for rows in sets]).T
    both = np.concatenate([first * len(coarse) + second, second * len(coarse) + first])
    return np.divmod(np.unique(both), len(coarse))


def _neighbours(coarse: np.ndarray, *, exact: int) -> np.ndarray:
    """(P, 2) each picture with its nearest ones."""
    import faiss

    index: Any = faiss.IndexFlatIP(coarse.shape[1])
    if len(coarse) > exact:
        lists = int(3 * len(coarse) ** 0.5)
        index = faiss.IndexIVFFlat(index, coarse.shape[1], lists, faiss.METRIC_INNER_PRODUCT)
        index.nprobe, index.cp.max_points_per_centroid = _PROBES, 64
        index.train(coarse)
    index.add(coarse)
    similar, near = index.search(coarse, min(NEIGHBOURS + 1, len(coarse)))
    pairs = np.stack([np.repeat(np.arange(len(coarse)), near.shape[1]), near.reshape(-1)], axis=1)
    return pairs[(pairs[:, 0] != pairs[:, 1]) & (similar.reshape(-1) >= _COARSELY)]


# ---------------------------------------------------------------- comparison
def _likeness(
    thumbnails: np.ndarray, wholes: np.ndarray, contrasts: np.ndarray, first: np.ndarray, second: np.ndarray
) -> np.ndarray:
    """(P,) best correlation of each ``second`` with a window of its ``first`` that has about its contrast; pairs are
    sorted by the first.
    """
    if not len(first):
        return np.zeros(0, np.float32)
    place = np.arange(len(first)) - np.searchsorted(first, first)
    starts = np.append(True, (np.diff(first) > 0) | (place[1:] % _WIDTH == 0))
    row, column = np.cumsum(starts) - 1, place % _WIDTH
    seconds = np.repeat(second[starts], _WIDTH).reshape(-1, _WIDTH)
    seconds[row, column] = second
    likeness = np.zeros(seconds.shape, np.float32)
    for i in range(0, len(seconds), _CHUNK):
        some = slice(i, i + _CHUNK)
        shown, others = thumbnails[first[starts][some]], wholes[seconds[some]].astype(np.float32)  # (B, 8, 192)
        for maps in _window_maps():
            windows = _windows(shown, maps)
            contrast = _contrasts(windows)  # (B, W, 3)
            norm = np.maximum(np.linalg.norm(contrast, axis=2), _PLAIN * 3**0.5) * _GRID
            # A whole has no mean, so that the mean of a window does not count in the product.
            found = windows.reshape(*norm.shape, -1) @ others.transpose(0, 2, 1) / norm[:, :, None]  # (B, W, 8)
            faint = np.maximum(contrast, _FAINT)[:, :, None]
            times = np.maximum(contrasts[seconds[some]], _FAINT)[:, None] / faint
            found[((times > _CONTRASTS) | (times < 1 / _CONTRASTS)).any(axis=3)] = 0
            np.maximum(likeness[some], found.max(axis=1), out=likeness[some])
    return likeness[row, column]


def _contrasts(windows: np.ndarray) -> np.ndarray:
    """(B, W, 3, 64) -> (B, W, 3) standard deviations."""
    squares = np.einsum("bwcd,bwcd->bwc", windows, windows) / windows.shape[3]
    return np.sqrt(np.maximum(squares - windows.mean(axis=3) ** 2, 0))


def _windows(thumbnails: np.ndarray, maps: np.ndarray) -> np.ndarray:
    """(B, K * K, 3, 64) float32 colours of the parts of the windows at K x K positions; ``maps`` is (K, 8, 32)."""
    values, flat = thumbnails.transpose(0, 3, 1, 2).astype(np.float32), maps.reshape(-1, SIDE)
    parts = (flat @ values @ flat.T).reshape(len(values), 3, len(maps), _GRID, len(maps), _GRID)
    return parts.transpose(0, 2, 4, 1, 3, 5).reshape(len(values), -1, 3, _GRID**2)


@cache
def _window_maps() -> tuple[np.ndarray, ...]:
    """For each side of a window, (K, 8, 32): how each of K positions averages 32 pixels to 8 parts."""
    maps = []
    for side in _WINDOW_SIDES:
        offsets = (0.0,) if side == 1 else (0.0, (1 - side) / 2, 1 - side)
        maps.append(np.stack([_averages(SIDE * start, SIDE * (start + side)) for start in offsets]))
    return tuple(maps)


def _averages(start: float, stop: float) -> np.ndarray:
    """(8, 32) shares of the pixels from ``start`` to ``stop`` in 8 equal parts."""
    edges = np.linspace(start, stop, _GRID + 1)[:, None]
    pixels = np.arange(SIDE)[None]
    covered = np.minimum(edges[1:], pixels + 1) - np.maximum(edges[:-1], pixels)
    return (np.maximum(covered, 0) * _GRID / (stop - start)).astype(np.float32)
