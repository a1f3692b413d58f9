"""Builds the writer that the settings describe. Only the libraries of that writer are imported."""

from __future__ import annotations

from pathlib import Path

from entityclip.explanations.config import AnyConfig, CustomConfig, SourceConfig, TransformersConfig
from entityclip.explanations.source_writer import SourceWriter, Writer


def open_writer(config: AnyConfig, *, ledger: Path) -> Writer:
    """Open the writer that ``config`` describes. ``ledger`` also holds the audit log.

    Raises:
        ConfigError: A folder, an address or a key is missing or not allowed.
    """
    if isinstance(config, SourceConfig):
        return SourceWriter()
    if isinstance(config, TransformersConfig):
        from entityclip.explanations.transformers_writer import TransformersWriter

        return TransformersWriter(config)
    if isinstance(config, CustomConfig):
        from entityclip.explanations.custom_writer import open_custom_writer

        return open_custom_writer(config.factory, config.options)
    from entityclip.explanations.openai_writer import OpenAIWriter
    from entityclip.explanations.prompting import Prompter

    pictures = config.max_pictures if config.pictures else 0
    return OpenAIWriter(config, prompter=Prompter(config), pictures=pictures, ledger=ledger)
