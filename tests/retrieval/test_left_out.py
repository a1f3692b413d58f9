"""What the benchmark of the catalogue leaves out of it, and adds to a service."""

import pytest
from tiny import tiny_model

from benchmarks.lib.left_out import Catalogued, recalled
from entityclip.data.ingest import ingest
from entityclip.data.sources.base import EntityRow, PictureRow
from entityclip.data.sources.catalog import CatalogSource
from entityclip.explanations import SourceWriter, explain
from entityclip.paths import Layout


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> CatalogSource:
    return CatalogSource(tmp_path_factory.mktemp("drawn") / "catalog", products=9, faults=False)


def test_the_rest_is_the_smaller_drawing(source, tmp_path):
    smaller = CatalogSource(tmp_path / "catalog", products=6, faults=False)
    rest = Catalogued(source, products=6)
    for rows in ("entities", "pictures"):
        mine, theirs = (
            [(row.entity, getattr(row, "data", None)) for row in getattr(of, rows)() if not hasattr(row, "reason")]
            for of in (rest, smaller)
        )
        assert mine == theirs
    names = {row.entity for row in source.entities() if isinstance(row, EntityRow)}
    pictures = [row for row in source.pictures() if isinstance(row, PictureRow) and row.entity in names - rest.kept]
    assert sorted(picture for theirs in rest.left_out() for picture in theirs) == sorted(row.data for row in pictures)


def test_what_is_left_out_is_added_and_queried_through_the_service(source, tmp_path):
    layout, rest = Layout(tmp_path), Catalogued(source, products=6)
    ingest(rest, staging=layout.staging, rejected=layout.rejected("catalog"), progress=False)
    explain(layout.staging, writer=SourceWriter(), ledger=layout.ledger, progress=False)
    model = tiny_model(tmp_path / "model")
    same = [[theirs[0]] * 3 for theirs in rest.left_out()]  # the very picture that it was added with
    found = recalled(model, layout.staging, same, changes=tmp_path / "changes")
    assert found == 100
