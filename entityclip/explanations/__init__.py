"""Who writes explanations, and the ledger that keeps every one of them."""

from entityclip.explanations.config import WriterConfig, open_writer, read_writer_settings, writer_config
from entityclip.explanations.ledger import Ledger
from entityclip.explanations.source_writer import Answer, BroughtWriter, Cost, Writer, record
from entityclip.explanations.stage import Estimate, estimate, explain
from entityclip.explanations.work_items import Requests

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
