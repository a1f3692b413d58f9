"""Sources of pictures: one module per data layout."""

from __future__ import annotations

from pathlib import Path

from entityclip.data.sources.base import Source
from entityclip.data.sources.options import SourceOptions
from entityclip.errors import ConfigError
from entityclip.paths import Layout

NEWS = ("n24news", "visualnews", "goodnews")
"""Published news data sets; evaluation on them follows the published protocol."""

CATALOG_PRODUCTS = 300
"""Default number of products of the catalogue."""

SOURCES = ("catalog", "grocery", "table", *NEWS)

__all__ = ["CATALOG_PRODUCTS", "NEWS", "SOURCES", "Source", "SourceOptions", "open_source", "to_be_made"]


def open_source(options: SourceOptions, *, layout: Layout, progress: bool = False) -> Source:
    """Open the source; the catalogue is drawn and the grocery data are fetched if they are missing.

    Args:
        options: Which source, and how to read it.
        layout: Where drawn and fetched data sets are stored if the options give no path.
        progress: Show a progress bar while drawing.

    Raises:
        ConfigError: The source is unknown, or an option does not belong to it.
        SourceError: The source cannot be read, drawn or fetched.
    """
    name, path, mapping, products = options.source, options.path, options.mapping, options.products
    if mapping is not None and name != "table":
        raise ConfigError(f"source {name}: a mapping belongs to the source 'table' only; leave it out")
    if products is not None and name != "catalog":
        raise ConfigError(f"source {name}: a number of products belongs to the source 'catalog' only; leave it out")
    # Import each source on demand: only the catalogue needs the drawing packages.
    if name == "catalog":
        from entityclip.data.sources.catalog import CatalogSource

        return CatalogSource(
            path or layout.drawn, products=CATALOG_PRODUCTS if products is None else products, progress=progress
        )
    if name == "grocery":
        from entityclip.data.sources.grocery import GrocerySource, fetch

        return GrocerySource(path or fetch(layout.fetched("grocery")))
    if name == "table":
        return _open_table(path, mapping)
    if name in NEWS:
        from entityclip.data.sources.news import NewsSource

        if path is None:
            raise ConfigError(f"source {name}: name the folder of the data set as the path; it is not fetched")
        return NewsSource(path, name=name)
    raise ConfigError(f"source {name!r} is unknown; known are {', '.join(SOURCES)}")


def _open_table(path: Path | None, mapping: Path | None) -> Source:
    from entityclip.data.sources.mapping import TableMapping
    from entityclip.data.sources.shared_pictures import MergedSource
    from entityclip.data.sources.table import TableSource

    if path is None:
        raise ConfigError("source table: name the picture table, or the folder that holds it, as the path")
    roles = TableMapping.read(mapping) if mapping else TableMapping()
    source = TableSource(path, mapping=roles)
    return MergedSource(source) if roles.shared_pictures == "merge" else source


def to_be_made(options: SourceOptions, *, layout: Layout) -> str:
    """What ``open_source`` would draw or fetch first, and where; empty if nothing is missing."""
    if options.source == "catalog":
        from entityclip.data.sources.catalog import is_drawn

        folder = options.path or layout.drawn
        whole = is_drawn(folder, products=CATALOG_PRODUCTS if options.products is None else options.products)
        return "" if whole else f"{folder}: the catalogue is not drawn yet, damaged, or of another recipe"
    if options.source == "grocery" and options.path is None and not layout.fetched("grocery").is_dir():
        return f"{layout.fetched('grocery')}: the data set is not fetched yet"
    return ""
