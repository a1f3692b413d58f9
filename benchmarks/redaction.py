"""Recall and false alarms of the redaction of texts before they are sent, with injected personal data.

    python benchmarks/redaction.py --json
    python benchmarks/redaction.py --source ../shared/grocery --json

Personal data are generated from a seed in the formats that people use, in an English and a Japanese sentence that does
not name their kind. An item counts as found if its placeholder replaces it and the rest of the sentence is unchanged.
Numbers that are not personal have the formats of part numbers and barcodes; any change of such a sentence is a false
alarm, as is any change of a text of the drawn catalogue or, with --source, of the Grocery Store data set. Rates are per
second of processor time, after a first text, which loads Presidio.
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any

import typer
from lib.machine import facts

from entityclip.data.sources.grocery import GrocerySource
from entityclip.data.sources.synthetic.products import explain, invent
from entityclip.explanations.pii import Redacted, redact
from entityclip.explanations.pii_recognizers import my_number_check, upc_check
from entityclip.schemas import Rejection

SENTENCES = {"en": "A red kettle with white dots, {} on the label.", "ja": "白い水玉の赤いやかん、ラベルに{}とある。"}
CATALOGUE_SEED = 7
CHARACTERS = {
    "#": "0123456789",
    "§": "23456789",
    "¶": "123456789",
    "Λ": "ABCDEFGHJKLMNPQRSTUVWXYZ",
    "λ": "adeghkmnorst",
}
"""What may stand for a character of a form."""

PERSONAL: dict[str, tuple[str, ...]] = {
    "EMAIL": ("λλλλ.λλλλ@λλλλλλ.co.jp", "λλλ_##+λλλ@λλλλ-λλλ.com", "λλλλ [at] λλλλλ.org"),
    "PHONE landline": ("03-§###-####", "045-§##-####", "0463-§#-####", "03(§###)####", "(06) §###-####"),
    "PHONE mobile": ("090-¶###-####", "080-¶###-####", "070¶#######", "090¶#######"),
    "PHONE free or IP": ("0120-###-###", "0120######", "0800-###-####", "050-¶###-####"),
    "PHONE with its name": ("TEL{03§#######}", "Tel. {03§#######}", "電話 {045§######}", "FAX:{0463-§#-####}"),
    "PHONE with +": ("+81 3-§###-####", "+81-90-¶###-####", "+1 415-555-01##", "+44 20 7946 0###"),
    "POSTAL_CODE": ("〒{¶##-####}", "〒{¶######}", "郵便番号 {¶##-####}", "{¶##-####} 東京都"),
    "MY_NUMBER in fours": ("#### #### ####", "####-####-####"),
    "MY_NUMBER with its name": ("マイナンバー{############}",),
    "MY_NUMBER bare": ("############",),
    "CARD": ("4### #### #### ####", "4###############", "51##-####-####-####", "37## ###### #####", "356#############"),
}
"""Kind and form; braces mark the personal part of a form, where it is not all of it."""
NOBODYS: dict[str, tuple[str, ...]] = {
    "4-4, 3-4, 2-4-4 digits": ("####-####", "###-####", "§#-####-####"),
    "3-3-4, 5-5, 3-2-5 digits": ("§##-###-####", "#####-#####", "###-##-#####"),
    "0 first: 2-4-4, 3-3-4 digits": ("0#-####-####", "0##-###-####"),
    "the same after 'P/N', '型番', 'model'": ("P/N 0#-####-####", "型番 0##-###-####", "model 0###-##-####"),
    "with letters": ("ΛΛ-##-####-####", "Λ###-####-#", "ΛΛ#########", "###-####-Λ", "ΛΛΛ-0##-###-####"),
    "7 to 11 digits": ("¶######", "¶#######", "¶########", "¶#########", "0#########", "¶##########"),
    "12 digits": ("############",),
    "UPC: 12 digits with its check digit": ("############",),
    "13 to 16 digits": ("4############", "¶#############", "###############", "################"),
    "sizes, prices, dates": ("### x ### x ## mm", "¥##,###,###", "2026-0#-1# 1#:##", "##.##.##.##", "AC100-240V ##W"),
}


def drawn(form: str, *, name: str, rng: random.Random) -> str:
    """``form`` with random characters for its wildcards, repeated until the check digit is right."""
    while True:
        made = "".join(rng.choice(CHARACTERS[c]) if c in CHARACTERS else c for c in form)
        if right(name, made):
            return made


def right(name: str, made: str) -> bool:
    """Whether the check digit of a card, a My Number or a barcode is right; true for numbers without one."""
    plain = "".join(filter(str.isdigit, made))
    if name.startswith("CARD"):
        doubled = [int(digit) * (1 + place % 2) for place, digit in enumerate(reversed(plain))]
        return sum(d - 9 * (d > 9) for d in doubled) % 10 == 0
    if name.startswith("MY_NUMBER"):
        return my_number_check(plain)
    return not name.startswith("UPC") or upc_check(plain)


def planted(name: str, *, draws: int) -> Iterator[tuple[str, str]]:
    """Personal data of one kind: each text before and after redaction; every fourth is full-width."""
    rng, mark = random.Random(name), f"<{name.split()[0]}>"
    for form in PERSONAL[name]:
        for number in range(draws):
            made = drawn(form if "{" in form else f"{{{form}}}", name=name, rng=rng)
            before, personal, after = made.replace("}", "{").split("{")
            personal = wide(personal) if number % 4 == 3 else personal
            yield before + personal + after, before + mark + after


def wide(text: str) -> str:
    """The text in full-width characters."""
    return text.translate({code: code + 0xFEE0 for code in range(0x21, 0x7F)})


def share_found(name: str, *, draws: int) -> float:
    """Share of the injected data that are replaced by their placeholder, in percent."""
    hits = [
        redact(sentence.format(made), language=language).text == sentence.format(left)
        for made, left in planted(name, draws=draws)
        for language, sentence in SENTENCES.items()
    ]
    return round(100 * sum(hits) / len(hits), 1)


def share_of_alarms(name: str, *, draws: int) -> float:
    """Share of the sentences with such a number that redaction changes, in percent."""
    rng = random.Random(name)
    texts = [
        (sentence.format(drawn(form, name=name, rng=rng)), language)
        for form in NOBODYS[name]
        for _ in range(draws)
        for language, sentence in SENTENCES.items()
    ]
    return round(100 * len(changed(texts)) / len(texts), 1)


def changed(texts: list[tuple[str, str]]) -> list[str]:
    """Those texts (each with its language) that redaction changes."""
    return [text for text, language in texts if redact(text, language=language) != Redacted(text)]


# ---------------------------------------------------------------- texts as they are
def catalogue() -> list[tuple[str, str]]:
    """Every code, name and explanation of the drawn catalogue."""
    products = invent(300, seed=CATALOGUE_SEED)
    english = [text for p in products for text in (p.code, p.name_en, *explain(p, seed=CATALOGUE_SEED).values())]
    return [(text, "en") for text in english] + [(p.name_ja, "ja") for p in products]


def grocery(source: Path) -> list[tuple[str, str]]:
    """Every name and description of the Grocery Store data set."""
    rows = [row for row in GrocerySource(source).entities() if not isinstance(row, Rejection)]
    return [(text, "en") for row in rows for text in (row.entity, *row.explanations)]


def per_second(work: Callable[[], object], *, texts: int) -> int:
    """Texts per second of processor time."""
    started = time.process_time()
    work()
    return round(texts / (time.process_time() - started))


def main(
    source: Annotated[Path | None, typer.Option(help="Folder of the Grocery Store data set.")] = None,
    draws: Annotated[int, typer.Option(min=1, help="Texts of each form and language.")] = 200,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object as the last line.")] = False,
) -> None:
    """Inject, redact, count."""
    redact("0312345678", language="ja")
    whole = {"catalogue": catalogue()} | ({"grocery": grocery(source)} if source else {})
    dense = [(SENTENCES["ja"].format(made), "ja") for made, _ in planted("PHONE mobile", draws=100)]
    result: dict[str, Any] = {
        "found": {name: share_found(name, draws=draws) for name in PERSONAL},
        "false_alarms": {name: share_of_alarms(name, draws=draws) for name in NOBODYS},
        "texts": {name: len(texts) for name, texts in whole.items()},
        "changed": {name: changed(texts) for name, texts in whole.items()},
        "texts_per_second": per_second(lambda: changed(whole["catalogue"] * 10), texts=10 * len(whole["catalogue"])),
        "texts_per_second_with_numbers": per_second(lambda: changed(dense), texts=len(dense)),
    }
    for part in ("found", "false_alarms"):
        for name, share in result[part].items():
            typer.echo(f"{part:<13} {share:6.1f} %  {name}")
    for name, texts in result["changed"].items():
        typer.echo(f"{name}: {len(texts)} of {result['texts'][name]} texts changed {texts[:3]}")
    typer.echo(f"{result['texts_per_second']:,} texts/s, {result['texts_per_second_with_numbers']:,} with numbers")
    if as_json:
        typer.echo(json.dumps(result | {"draws": draws} | facts(), ensure_ascii=False))


if __name__ == "__main__":
    typer.run(main)
