"""The versioned tables: pairs, entities, explanations, as Parquet shards that pandas and ``datasets`` read.

Pairs hold the bytes of their picture in a struct ``image: {bytes, path}``, so a million pictures are a few files, and
other columns can be read without them. Ids are hashes of content: the same row has the same id in every version and on
every machine.
"""

from entityclip.data.pairs.ids import digest, entity_id, normalised, pair_id, sources_hash, split_of
from entityclip.data.pairs.schemas import (
    ENTITIES,
    EXPLANATIONS,
    LABELS,
    NEAR_DUPLICATES,
    PAIRS,
    SCHEMA_VERSION,
    SOURCE_PROVIDED,
)
from entityclip.data.pairs.tables import (
    ROW_GROUP_BYTES,
    SHARD_BYTES,
    PairsWriter,
    ShardWriter,
    evaluation_split,
    finish,
    iter_rows,
    iter_shard,
    read_frame,
    reading,
    require_complete,
    shards,
    start,
    write_rows,
)

__all__ = [
    "ENTITIES",
    "EXPLANATIONS",
    "LABELS",
    "NEAR_DUPLICATES",
    "PAIRS",
    "ROW_GROUP_BYTES",
    "SCHEMA_VERSION",
    "SHARD_BYTES",
    "SOURCE_PROVIDED",
    "PairsWriter",
    "ShardWriter",
    "digest",
    "entity_id",
    "evaluation_split",
    "finish",
    "iter_rows",
    "iter_shard",
    "normalised",
    "pair_id",
    "read_frame",
    "reading",
    "require_complete",
    "shards",
    "sources_hash",
    "split_of",
    "start",
    "write_rows",
]
