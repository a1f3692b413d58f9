"""A tokenizer learned from the texts of a data version, written as the files of a Hugging Face tokenizer.

Byte-pair merges inside words. A character that the texts do not hold becomes its UTF-8 bytes, so that every text has
ids. The same texts give the same file.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tokenizers import Tokenizer

PAD, START, END = "<pad>", "<s>", "</s>"
MARKS = (PAD, START, END)
"""Their ids are 0, 1 and 2."""
PIECES = (1000, 8000)
"""Fewest and most pieces that are learned, beside the marks and the 256 bytes."""
CHARACTERS_PER_PIECE = 40
"""More pieces than this allows occur too rarely for the text tower to learn what they mean."""
RAREST = 2
"""A merge occurs at least so often."""
SAMPLE = 200_000
"""Distinct texts that are read at most."""

_WORDS = r"[ァ-ヺー]+|[ぁ-ゖ]+|[一-龯々〆ヶ]+|[^\W\d_ァ-ヺーぁ-ゖ一-龯々〆ヶ]+|\d|[^\w\s]|_"
"""Runs of one script, single digits and single signs: a piece never crosses from one to the next."""


def learn_tokenizer(texts: Iterable[str], folder: Path) -> None:
    """Learn from ``texts``, in any order and however often each occurs; writes ``tokenizer.json`` and its settings."""
    from transformers import PreTrainedTokenizerFast

    distinct = sorted(set(texts))
    learned = _learned(distinct[:: max(1, -(-len(distinct) // SAMPLE))])
    folder.mkdir(parents=True, exist_ok=True)
    marks = {"pad_token": PAD, "bos_token": START, "eos_token": END}
    PreTrainedTokenizerFast(tokenizer_object=_with_bytes(learned), **marks).save_pretrained(folder)


def pieces_for(characters: int) -> int:
    """How many pieces are learned from so many characters."""
    fewest, most = PIECES
    return min(most, max(fewest, characters // CHARACTERS_PER_PIECE))


def _learned(texts: list[str]) -> dict[str, Any]:
    """``vocab`` and ``merges``."""
    from tokenizers import Tokenizer, models, trainers

    count = pieces_for(sum(map(len, texts)))
    learner = _prepared(Tokenizer(models.BPE()))
    trainer = trainers.BpeTrainer(
        vocab_size=count, min_frequency=RAREST, limit_alphabet=count // 2, show_progress=False
    )
    learner.train_from_iterator(texts, trainer)
    return json.loads(learner.to_str())["model"]


def _prepared(tokenizer: Tokenizer) -> Tokenizer:
    """The same with normalisation and the split into words."""
    from tokenizers import Regex, normalizers, pre_tokenizers

    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    words = pre_tokenizers.Split(Regex(_WORDS), behavior="isolated")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), words])
    return tokenizer


def _with_bytes(learned: dict[str, Any]) -> Tokenizer:
    """The learned pieces behind the marks and all bytes, with a start and an end about each text."""
    from tokenizers import AddedToken, Tokenizer, models, processors

    pieces = sorted(learned["vocab"], key=learned["vocab"].__getitem__)
    names = [*MARKS, *(f"<0x{byte:02X}>" for byte in range(256)), *pieces]
    vocabulary = {name: number for number, name in enumerate(names)}
    merges = [tuple(pair) for pair in learned["merges"]]
    tokenizer = _prepared(Tokenizer(models.BPE(vocab=vocabulary, merges=merges, byte_fallback=True)))
    tokenizer.add_special_tokens([AddedToken(mark, special=True) for mark in MARKS])
    ends = [(mark, vocabulary[mark]) for mark in (START, END)]
    tokenizer.post_processor = processors.TemplateProcessing(single=f"{START} $A {END}", special_tokens=ends)
    return tokenizer
