"""Writers of explanations, and the ledger that stores every answer."""

from entityclip.explanations.config import WriterConfig, read_writer_settings, writer_config
from entityclip.explanations.factory import open_writer
from entityclip.explanations.ledger import Ledger
from entityclip.explanations.source_writer import SourceWriter, Writer, WriterAnswer, WriterCost, record
from entityclip.explanations.stage import Estimate, estimate, explain, rejections
from entityclip.explanations.work_items import Requests

__all__ = [
    "Estimate",
    "Ledger",
    "Requests",
    "SourceWriter",
    "Writer",
    "WriterAnswer",
    "WriterConfig",
    "WriterCost",
    "estimate",
    "explain",
    "open_writer",
    "read_writer_settings",
    "record",
    "rejections",
    "writer_config",
]
