"""Data versions of pictures alone, cut into as many shards and row groups as a test wants."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from entityclip.data import pairs
from entityclip.paths import DataLayout


def write_pictures(
    root: Path, files: list[bytes], *, split: str = "train", shard: int = 8, group: int = 3
) -> DataLayout:
    """``files`` as the pictures of one split, ``shard`` of them in each shard and ``group`` in each row group."""
    data = DataLayout(root)
    pairs.start(data)
    rows = [{"image": {"bytes": f, "path": ""}, "image_sha256": pairs.digest(f), "split": split} for f in files]
    parts = [rows[i : i + shard] for i in range(0, len(rows), shard)]
    data.pairs.mkdir()
    for i, part in enumerate(parts):
        path = data.pairs / f"{split}-{i:05d}-of-{len(parts):05d}.parquet"
        pq.write_table(pa.Table.from_pylist(part, schema=pairs.PAIRS), path, row_group_size=group)
    pairs.finish(data, pairs=len(files))
    return data
