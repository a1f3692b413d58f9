"""What the texts of a data version decide: tokenizer, context, and the text tower's vocabulary."""

from __future__ import annotations

from itertools import chain
from pathlib import Path

import numpy as np

from entityclip.data.learned_tokenizer import learn_tokenizer
from entityclip.data.pairs import iter_rows, read_frame
from entityclip.data.text import Tokenisation
from entityclip.errors import ConfigError
from entityclip.model.compatibility import expected_tokenisation
from entityclip.paths import DataLayout
from entityclip.training.config import TrainConfig

WHOLE = 0.99
"""Share of the texts of each kind that the context holds in one piece."""
SHORTEST = 16
"""Fewest tokens of a context."""
MEASURED = 20_000
"""Texts of each kind whose length is measured at most."""


def settle_texts(config: TrainConfig, data: DataLayout, *, folder: Path, learn: bool = True) -> TrainConfig:
    """``config`` with tokenizer, context and vocabulary as these data want them.

    Args:
        config: As set. Without a learned tokenizer, nothing changes.
        data: Whose texts are read.
        folder: Where a learned tokenizer is kept.
        learn: False: another process has written ``folder``.

    Raises:
        ConfigError: The tokenizer cannot be loaded, or more texts would lose their end than the settings accept.
        DataError: The data are damaged.
    """
    given, towers = config.tokenisation, config.model.towers
    how = {"long_texts": given.long_texts, "most_cut": given.most_cut}
    if not given.learned:
        _require_whole(given, data)
        return config
    if not towers.text_from_scratch:
        own = expected_tokenisation(towers).model_copy(update=how)
        _require_whole(own, data)
        return config.model_copy(update={"tokenisation": own})
    texts = data_texts(data)
    if given.folder is None:
        if learn:
            learn_tokenizer(chain(*texts.values()), folder)
        given = given.model_copy(update={"folder": str(folder)})
    tokenisation = _long_enough(given, texts)
    _require_whole(tokenisation, data)
    tokenizer = tokenisation.load()
    text_cfg = {
        "vocab_size": tokenizer.vocabulary,
        "context_length": tokenisation.context,
        "pad_id": tokenizer.pad,
        "eos_id": tokenizer.end,
        "pool_type": "eos",
    }
    towers = towers.model_copy(update={"text_cfg": towers.text_cfg | text_cfg})
    model = config.model.model_copy(update={"towers": towers})
    return config.model_copy(update={"tokenisation": tokenisation, "model": model})


def data_texts(data: DataLayout) -> dict[str, list[str]]:
    """Kind -> the distinct texts of that kind in a data version: captions (not sealed ones), names, explanations."""
    entities = iter_rows(data.entities, columns=["entity", "aliases"])
    captions = read_frame(data.pairs, columns=["caption", "split"])
    texts = {
        "captions": captions.loc[captions["split"] != "sealed", "caption"],
        "names": (name for row in entities for name in (row["entity"], *row["aliases"])),
        "explanations": read_frame(data.explanations, columns=["text"])["text"],
    }
    return {kind: sorted(set(found)) for kind, found in texts.items()}


def _long_enough(given: Tokenisation, texts: dict[str, list[str]]) -> Tokenisation:
    """The context that holds ``WHOLE`` of each kind of text, in steps of eight tokens; at most the given one."""
    tokenizer = given.load()
    lengths = [tokenizer.lengths(_sample(of_kind)) for of_kind in texts.values() if of_kind]
    needed = max((int(np.quantile(of_kind, WHOLE, method="higher")) for of_kind in lengths), default=0)
    context = min(given.context, max(SHORTEST, -(-needed // 8) * 8))
    return given.model_copy(update={"context": context})


def _require_whole(config: Tokenisation, data: DataLayout) -> None:
    if config.long_texts != "cut" or config.most_cut == 1:
        return
    tokenizer = config.load()
    for kind, texts in data_texts(data).items():
        share = float(tokenizer.truncated(_sample(texts)).mean()) if texts else 0.0
        if share > config.most_cut:
            raise ConfigError(
                f"tokenisation: {share:.1%} of the {kind} are longer than {config.context} tokens and would lose their "
                f"end; expected at most {config.most_cut:.1%}. Set long_texts: pieces, a longer context, or accept it "
                "by most_cut"
            )


def _sample(texts: list[str]) -> list[str]:
    return texts[:: max(1, -(-len(texts) // MEASURED))]
