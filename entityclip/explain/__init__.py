"""Who writes explanations, and the ledger that keeps every one of them."""

from entityclip.explain.config import WriterConfig, open_writer, read_writer_settings, writer_config
from entityclip.explain.ledger import Ledger
from entityclip.explain.requests import Requests
from entityclip.explain.stage import Estimate, estimate, explain
from entityclip.explain.writer import Answer, BroughtWriter, Cost, Writer, record

__all__ = [
    "Answer",
    "BroughtWriter",
    "Cost",
    "Estimate",
    "Ledger",
    "Requests",
    "Writer",
    "WriterConfig",
    "estimate",
    "explain",
    "open_writer",
    "read_writer_settings",
    "record",
    "writer_config",
]
