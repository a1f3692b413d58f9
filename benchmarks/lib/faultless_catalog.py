"""The built-in catalogue without its planted faults, as ingest and explain leave it."""

from __future__ import annotations

from entityclip.data.ingest import ingest
from entityclip.data.sources.catalog import CatalogSource
from entityclip.data.sources.synthetic.render_photos import Texts
from entityclip.explanations import SourceWriter, explain
from entityclip.paths import DataLayout, Layout


def faultless_catalog(layout: Layout, *, products: int, texts: Texts = "en") -> DataLayout:
    """Rows and explanations in the staging folder of ``layout``; drawn once."""
    data = layout.staging
    if not data.marker.is_file() or not data.explanations.is_dir():
        source = CatalogSource(layout.drawn, faults=False, products=products, texts=texts)
        ingest(source, staging=data, rejected=layout.rejected("catalog"))
        explain(data, writer=SourceWriter(), ledger=layout.ledger)
    return data
