"""Who writes explanations, and the ledger that keeps every one of them."""

from entityclip.explain.ledger import Ledger
from entityclip.explain.stage import explain, requests
from entityclip.explain.writer import Answer, BroughtWriter, Writer, record

__all__ = ["Answer", "BroughtWriter", "Ledger", "Writer", "explain", "record", "requests"]
