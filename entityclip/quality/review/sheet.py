"""The review sheet: texts in quarantine, exported with their pictures and imported with the decisions."""

from __future__ import annotations

import csv
from collections.abc import Collection, Iterator
from pathlib import Path

from pydantic import ValidationError

from entityclip.data import pairs
from entityclip.errors import ConfigError, DataError, faults
from entityclip.paths import DataLayout, ReviewLayout
from entityclip.quality.review.decisions import Review
from entityclip.quality.review.pending import PendingText, pending_texts
from entityclip.reports.examples import read_pictures
from entityclip.reports.pages import write_page
from entityclip.schemas import Record
from entityclip.storage import csv_file, read_rows

SHOWN = ("explanation_id", "entity", "language", "rules", "values", "text")
FILLED_IN = ("decision", "edited_text", "minutes", "note")
PICTURES_SHOWN = 3


class ReviewExport(Record):
    """All texts of one export."""

    texts: tuple[PendingText, ...]


# ---------------------------------------------------------------- export
def export_review(quarantine: Path, *, data: DataLayout, to: ReviewLayout, decided: Collection[str] = ()) -> int:
    """Export the texts that ``quarantine`` lists to a folder for a reviewer; returns how many.

    Args:
        quarantine: CSV that the gate wrote.
        data: The staging that the file is about: it holds the full texts and the pictures.
        to: A new folder, so that no decision is overwritten.
        decided: Ids of texts that are decided already.

    Raises:
        ConfigError: The folder holds a sheet already, or no text waits for a decision.
        DataError: The file is not a quarantine file, or is of another batch than the staging.
    """
    if to.sheet.exists():
        raise ConfigError(f"{to.sheet}: already exists, and its decisions would be lost; name a new folder")
    waiting = [text for text in pending_texts(quarantine, data) if text.explanation_id not in decided]
    if not waiting:
        raise ConfigError(f"{quarantine}: no text in it waits for a decision")
    to.root.mkdir(parents=True, exist_ok=True)
    _write_sheet(to.sheet, waiting)
    write_page(to.page, "review.html.j2", texts=waiting, pictures=_pictures(data, waiting), sheet=to.sheet.name)
    ReviewExport(texts=tuple(waiting)).write(to.texts)
    return len(waiting)


def _write_sheet(path: Path, waiting: list[PendingText]) -> None:
    # Excel reads a CSV as UTF-8 only with the byte order mark.
    with csv_file(path, [*SHOWN, *FILLED_IN], encoding="utf-8-sig") as writer:
        for text in waiting:
            writer.write([*(getattr(text, column) for column in SHOWN), *("" for _ in FILLED_IN)])


def _pictures(data: DataLayout, waiting: list[PendingText]) -> dict[str, list[bytes]]:
    """entity_id -> its first pictures by id, and pair_id -> the picture itself of each quarantined one."""
    rows = pairs.read_frame(data.pairs, columns=["pair_id", "entity_id"])
    rows = rows[rows["entity_id"].isin({text.entity_id for text in waiting})].drop_duplicates("pair_id")
    few = rows.sort_values("pair_id").groupby("entity_id").head(PICTURES_SHOWN)
    own = [text.explanation_id for text in waiting if text.is_picture]
    pictures = read_pictures(data, {*few["pair_id"], *own})
    of_entities = {str(key): [pictures[pair] for pair in part["pair_id"]] for key, part in few.groupby("entity_id")}
    return of_entities | {pair_id: [pictures[pair_id]] for pair_id in own}


# ---------------------------------------------------------------- import
def import_review(folder: ReviewLayout, *, reviewer: str) -> tuple[Review, ...]:
    """The decisions that the reviewer filled in; texts without one keep waiting.

    Raises:
        DataError: The folder is not an export, or the sheet does not match the export; names every row that is
            wrong.
    """
    handed = ReviewExport.read(folder.texts)
    if handed is None:
        raise DataError(
            f"{folder.texts}: missing or damaged; expected the folder that `entityclip review export` wrote"
        )
    known = {text.explanation_id: text for text in handed.texts}
    reviews: dict[str, Review] = {}
    wrong: list[str] = []
    for number, row in enumerate(_rows(folder.sheet), 2):
        try:
            review = _review(row, known, reviewer=reviewer)
            if review and review.explanation_id in reviews:
                raise ValueError("this text occurs twice")
        except ValidationError as error:
            wrong.append(f"line {number}: {faults(error)}")
        except ValueError as error:
            wrong.append(f"line {number}: {error}")
        else:
            reviews |= {review.explanation_id: review} if review else {}
    if wrong:
        raise DataError(f"{folder.sheet}: nothing was imported; {'; '.join(wrong)}")
    return tuple(reviews.values())


def _rows(sheet: Path) -> Iterator[dict[str, str]]:
    """Rows of the sheet; the separator may be a comma, a semicolon or a tab."""
    columns = [*SHOWN, *FILLED_IN]
    try:
        text = sheet.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{sheet}: cannot be read ({error}); save it as 'CSV UTF-8'") from error
    head = text.split("\n", 1)[0].rstrip("\r")
    separator = next((s for s in ",;\t" if [c.strip('"') for c in head.split(s)] == columns), None)
    if separator is None:
        raise DataError(f"{sheet}: the columns are {head[:200]!r}; expected {', '.join(columns)}, as exported")
    try:
        yield from read_rows(text, delimiter=separator)
    except csv.Error as error:
        raise DataError(f"{sheet}: not a CSV file ({error}); save it as 'CSV UTF-8'") from error


def _review(row: dict[str, str], known: dict[str, PendingText], *, reviewer: str) -> Review | None:
    """The decision in a row; None where it is empty."""
    if (text := known.get(row["explanation_id"].strip())) is None:
        raise ValueError(f"explanation_id {row['explanation_id']!r} is not in the export")
    cells = {column: row[column].strip() for column in FILLED_IN}
    if not any(cells.values()):
        return None
    return text.decided(
        reviewer=reviewer,
        decision=cells["decision"].lower(),
        edited_text=cells["edited_text"],
        minutes=cells["minutes"].replace(",", "."),
        note=cells["note"],
    )
