"""Recognizers of personal data: Presidio's where they suit catalogues, and own rules for Japan.

Catalogues are full of numbers that are not personal: part numbers, barcodes, ISBNs. Redacting them would remove what
distinguishes products. Each rule therefore requires a check digit, a known format, or a nearby word that names the
number. Importing this module takes seconds.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from presidio_analyzer import (
    AnalyzerEngine,
    EntityRecognizer,
    Pattern,
    PatternRecognizer,
    RecognizerRegistry,
    RecognizerResult,
)
from presidio_analyzer.nlp_engine import NerModelConfiguration, NoOpNlpEngine, SpacyNlpEngine
from presidio_analyzer.predefined_recognizers import (
    CreditCardRecognizer,
    IbanRecognizer,
    PhoneRecognizer,
    SpacyRecognizer,
)

from entityclip.errors import ConfigError

LANGUAGE = "en"
"""The rules are the same for all languages, but Presidio requires one."""

# Not \b: Japanese letters are word characters and adjoin numbers without a space.
_ALONE = r"(?<![a-z0-9-])(?<!\d ){}(?![a-z0-9-]| \d)"


def analyzer(*, names: Path | None = None) -> AnalyzerEngine:
    """Presidio's analyzer with all rules; with persons if ``names`` is the folder of a spaCy pipeline.

    Raises:
        ConfigError: spaCy cannot load the pipeline.
    """
    recognizers = [_email(), _Phones(), _postal_code(), _MyNumber(), _card(), IbanRecognizer(supported_entity="IBAN")]
    if names is None:
        # No rule uses context words, so the text need not be tokenised.
        engine = NoOpNlpEngine([{"lang_code": LANGUAGE, "model_name": ""}])
        return AnalyzerEngine(registry=RecognizerRegistry(recognizers), nlp_engine=engine)
    persons = NerModelConfiguration(model_to_presidio_entity_mapping={"PERSON": "PERSON", "PER": "PERSON"})
    spacy = SpacyNlpEngine([{"lang_code": LANGUAGE, "model_name": str(names)}], persons)
    recognizers.append(SpacyRecognizer(supported_entities=["PERSON"]))
    try:
        return AnalyzerEngine(registry=RecognizerRegistry(recognizers), nlp_engine=spacy)
    except Exception as error:  # whatever a pipeline's own code raises
        raise ConfigError(f"{names}: spaCy cannot load this pipeline ({error})") from error


# ---------------------------------------------------------------- e-mail, cards
def _email() -> EntityRecognizer:
    """Replaces Presidio's rule, which looks up domains in the network and has a pattern of unbounded length."""
    at = r"\s?(?:@|[\[(]\s?at\s?[\])])\s?"
    local = r"(?:[a-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}|[^\W\x00-\x7f]{1,20})"
    return _patterns("EMAIL", local + at + r"(?:[\w-]{1,63}\.){1,8}(?:xn--[a-z0-9-]{2,59}|[a-z]{2,24})(?![a-z0-9])")


def _card() -> EntityRecognizer:
    """14 to 16 digits of the known issuers with Luhn's check digit; Presidio's 13 digits would match barcodes."""
    sixteen = r"(?:4\d{3}|5[1-5]\d\d|2[2-7]\d\d|35[2-8]\d|6011|64[4-9]\d|65\d\d)([ -]?)\d{4}\1\d{4}\1\d{4}"
    shorter = r"3[47]\d\d([ -]?)\d{6}\2\d{5}|3(?:0[0-5]|[68]\d)\d([ -]?)\d{6}\3\d{4}"
    pattern = Pattern("card", _ALONE.format(f"(?:{sixteen}|{shorter})"), 0.5)
    return CreditCardRecognizer(patterns=[pattern], supported_entity="CARD")


def _patterns(kind: str, *regexes: str) -> PatternRecognizer:
    return PatternRecognizer(kind, patterns=[Pattern(kind, regex, 0.6) for regex in regexes])


# ---------------------------------------------------------------- phones
_SAYS_PHONE = re.compile(
    r"(?:(?<![a-z])(?:tel|phone|telephone|fax|mobile|cell|call)|電話|携帯|ファックス|フリーダイヤル|連絡先|問い?合わ?せ先?|[☎℡])"
    r"[^\d\n]{0,8}$",
    re.IGNORECASE,
)
_SAYS_CODE = re.compile(
    r"(?:(?<![a-z])(?:p/n|part|model|item|sku|code|ref|art|serial|s/n|lot|isbn|jan|ean|order)|型番|品番|型式|部品|製番|商品|コード)"
    r"[^\d\n]{0,12}$",
    re.IGNORECASE,
)
_GLUED_LABEL = re.compile(r"(?:tel|fax|phone|mobile)(?=[-.:]?[\d(+])", re.IGNORECASE)
_PART_OF_A_CODE = (re.compile(r"[a-z0-9][-_.#]?$", re.IGNORECASE), re.compile(r"^[-_]?[a-z0-9]", re.IGNORECASE))
_FREE_OR_MOBILE = re.compile(r"0[789]0\d{8}|0120\d{6}|0800\d{7}")


class _Phones(PhoneRecognizer):
    """Numbers of Japan, or with +, that libphonenumber accepts as valid and usually grouped."""

    def __init__(self) -> None:
        super().__init__(supported_entity="PHONE", supported_regions=("JP",), leniency=2)

    def analyze(self, text: str, entities: list[str], nlp_artifacts: Any = None) -> list[RecognizerResult]:
        # "TEL03-..." has a letter before the number, so libphonenumber takes it for a code.
        unglued = _GLUED_LABEL.sub(lambda label: " " * len(label[0]), text)
        return [found for found in super().analyze(unglued, entities, nlp_artifacts) if _is_phone(text, found)]


def _is_phone(text: str, found: RecognizerResult) -> bool:
    """Whether the number is a phone number, not a product code; decided by its context, then by its format."""
    before, after = text[max(0, found.start - 24) : found.start], text[found.end : found.end + 2]
    if _SAYS_PHONE.search(before):
        return True
    if _SAYS_CODE.search(before) or _PART_OF_A_CODE[0].search(before) or _PART_OF_A_CODE[1].search(after):
        return False
    number = text[found.start : found.end]
    return not number.isdigit() or bool(_FREE_OR_MOBILE.fullmatch(number))


# ---------------------------------------------------------------- Japan
_PREFECTURE = r"\s{0,2}(?:北海道|東京都|(?:京都|大阪)府|[一-鿿]{2,3}県)"


def _postal_code() -> EntityRecognizer:
    """Seven digits after the postal mark or its name, or before a prefecture; otherwise they may be a part number."""
    number, named = r"\d{3}-?\d{4}(?!\d)", r"(?<=(?:〒|郵便番号)[\s::は]{0,3})"
    return _patterns("POSTAL_CODE", named + number, rf"(?<![a-z0-9-]){number}(?={_PREFECTURE})")


class _MyNumber(PatternRecognizer):
    """Japan's Individual Number: 12 digits, the last one a check digit.

    One number in nine has a valid check digit, and one of these in ten is also a valid UPC barcode. Without groups of
    four and without a label, a number therefore must not be a UPC barcode.
    """

    def __init__(self) -> None:
        pattern = Pattern("my number", _ALONE.format(r"\d{4}([ -]?)\d{4}\1\d{4}"), 0.6)
        super().__init__("MY_NUMBER", patterns=[pattern])

    def validate_result(self, pattern_text: str) -> bool:
        """Whether the check digit is valid."""
        return my_number_check(re.sub(r"\D", "", pattern_text))

    def analyze(self, text: str, *args: Any, **settings: Any) -> list[RecognizerResult]:
        return [found for found in super().analyze(text, *args, **settings) if _is_my_number(text, found)]


_SAYS_MY_NUMBER = re.compile(r"(?:マイナンバー|個人番号|my\s?number)[^\d\n]{0,12}$", re.IGNORECASE)


def _is_my_number(text: str, found: RecognizerResult) -> bool:
    before, number = text[max(0, found.start - 24) : found.start], text[found.start : found.end]
    if _SAYS_MY_NUMBER.search(before) or not number.isdigit():
        return True
    return not (_SAYS_CODE.search(before) or upc_check(number))


def my_number_check(digits: str) -> bool:
    """Whether the last of 12 digits is the check digit: weights 2 to 7 and 2 to 6 from the right, mod 11."""
    weights = [*range(2, 8), *range(2, 7)]
    rest = sum(int(d) * w for d, w in zip(reversed(digits[:11]), weights, strict=True)) % 11
    return int(digits[11]) == (0 if rest <= 1 else 11 - rest)


def upc_check(digits: str) -> bool:
    """Whether 12 digits are a UPC barcode: alternating weights 3 and 1, mod 10."""
    return sum(int(d) * (3, 1)[place % 2] for place, d in enumerate(digits)) % 10 == 0
