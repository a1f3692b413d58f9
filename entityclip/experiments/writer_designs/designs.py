"""The settings of a writer in a YAML file each, and what these writers write about the same entities."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from entityclip.data import pairs
from entityclip.data.rights import Rights
from entityclip.errors import ConfigError, DataError
from entityclip.explanations import (
    Ledger,
    Requests,
    Writer,
    open_writer,
    read_writer_settings,
    rejections,
    writer_config,
)
from entityclip.explanations.config import TransformersConfig
from entityclip.explanations.ledger import key_of
from entityclip.explanations.stage import answered
from entityclip.paths import DataLayout

Sample = Mapping[tuple[str, str], str]
"""Entity id and language of each request -> an empty reason, as ``Requests`` takes them."""


class WriterDesign(NamedTuple):
    """A writer with its requests about the sample."""

    name: str
    """Name of the file, without its ending."""
    files: dict[str, str]
    """Name -> content of the settings, and of the examples that they name."""
    writer: Writer
    requests: Requests


class DesignTexts(NamedTuple):
    """What the writer of a design wrote about the sample."""

    name: str
    generator: str
    files: dict[str, str]
    texts: pd.DataFrame
    """N rows with the columns of ``pairs.EXPLANATIONS``."""
    requests: pd.DataFrame
    """One row per answer: entity_id, tokens, seconds, money, as the ledger has them."""
    rejected: dict[str, int]
    """Why replies of the writer were rejected -> how many."""


def sampled(data: DataLayout, *, count: int, rights: Rights) -> Sample:
    """The requests about ``count`` entities, which a hash draws: a larger sample holds every smaller one.

    Raises:
        DataError: The data are incomplete, or hold no entity that a writer may write about.
    """
    pairs.require_complete(data)
    known = [(request.entity_id, request.language) for request in Requests(data, rights=rights)]
    if not known:
        raise DataError(f"{data.root}: no entity that a writer may write about; ingest some, or check their rights")
    order = sorted({entity for entity, _ in known}, key=lambda entity: pairs.digest("sample", entity))
    drawn = set(order[:count])
    return {key: "" for key in known if key[0] in drawn}


def open_designs(
    paths: Sequence[Path], data: DataLayout, sample: Sample, *, rights: Rights, ledger: Path
) -> list[WriterDesign]:
    """Open the writer of each file. No request is sent, and no model is loaded.

    Raises:
        ConfigError: Fewer than two files, two of one name, settings that are impossible or not allowed, or two files
            whose writers send the same requests.
    """
    names = [path.stem for path in paths]
    if len(names) < 2 or len(set(names)) < len(names):
        raise ConfigError(f"{', '.join(map(str, paths))}: expected two or more files, each with a name of its own")
    opened = [_opened(path, data, sample, rights=rights, ledger=ledger) for path in paths]
    known: dict[tuple[str, ...], str] = {}
    for design in opened:
        keys = tuple(key_of(request, writer=design.writer) for request in design.requests)
        if other := known.setdefault(keys, design.name).removeprefix(design.name):
            raise ConfigError(
                f"{other} and {design.name}: their writers send the same requests; change the model, the prompt, the "
                "examples or a setting that the prompt states"
            )
    return opened


def _opened(path: Path, data: DataLayout, sample: Sample, *, rights: Rights, ledger: Path) -> WriterDesign:
    config = writer_config(read_writer_settings(path), origin=str(path))
    writer = open_writer(config, ledger=ledger)
    shown = [path, *([config.few_shot] if isinstance(config, TransformersConfig) and config.few_shot else [])]
    files = {file.name: file.read_text(encoding="utf-8") for file in shown}
    requests = Requests(data, pictures=writer.sees_pictures, reasons=sample, rights=rights)
    return WriterDesign(path.stem, files, writer, requests)


def write_texts(design: WriterDesign, *, ledger: Path, progress: bool) -> DesignTexts:
    """Have the writer of a design write about the sample; answers in the ledger are not requested again.

    Raises:
        WriterError: Some requests have no answer; the ledger keeps the others.
    """
    found = answered(design.requests, writer=design.writer, ledger=ledger, progress=progress)
    texts = pd.DataFrame([text.model_dump() for text in found], columns=pairs.EXPLANATIONS.names)
    owners = {key_of(request, writer=design.writer): request.entity_id for request in design.requests}
    with Ledger(ledger) as book:
        costs = book.costs(owners)
    rows = [(owners[key], cost.tokens_in + cost.tokens_out, cost.seconds, cost.money) for key, cost in costs.items()]
    requests = pd.DataFrame(rows, columns=["entity_id", "tokens", "seconds", "money"])
    rejected = dict(rejections(design.requests, writer=design.writer, ledger=ledger))
    return DesignTexts(design.name, design.writer.generator, design.files, texts, requests, rejected)
