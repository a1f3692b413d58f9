"""Patterns of words that no explanation should hold, matched on a whole column at once."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

_DASH = "[-‐‑‒–−]"
_STOCK = (
    r"(?:high|top|premium|best|superior) quality(?: products?)?|best (?:price|value|choice)s?|(?:buy|order|shop) now|"
    r"(?:free|fast) (?:shipping|delivery)|satisfaction guaranteed|money[- ]back guarantee|add to (?:cart|basket)|"
    r"click here|learn more|limited (?:time )?offer|while (?:stocks?|supplies) lasts?|in stock|on sale|contact us|"
    r"(?:a )?must[- ]have|perfect (?:gift|for (?:everyone|every day|any occasion))|great for (?:everyone|daily use)|"
    r"(?:and|with|for|the|our|a|this|is|at|of|all|your|you|we|offer|product|item|today)|"
    r"高品質|お買い得|送料無料|今すぐ(?:購入|注文)|大人気|おすすめ|在庫あり|お問い合わせください|の?商品|です|ます|で|の"
)

PATTERNS = {
    "refusal": (
        r"(?i)\bas an ai\b|\blanguage model\b|\bi(?:'m|’m| am) (?:sorry|unable|not able)\b|"
        r"\bi (?:cannot|can't|can’t|can not|do not have|don't have|don’t have) |\bsorry, (?:but )?i\b|"
        r"\bunable to (?:assist|help|describe|see|view)\b|\bno (?:picture|image|photo) (?:was|is|has been)?\s?(?:in "
        r"your|attached|provided|given|included)|\bplease (?:provide|upload|share|attach) (?:it|the|an?|more)\b|"
        r"(?:AI|人工知能)(?:モデル|アシスタント|言語モデル)?として|言語モデル|申し訳(?:ありません|ございません)|"
        r"お(?:答え|応え|手伝い)(?:すること)?(?:は|が)?(?:でき(?:ません|かねます)|いたしかねます)"
    ),
    "injected": (
        r"(?i)\b(?:ignore|disregard|forget|override|bypass)\b[^.!?]{0,30}\b(?:previous|prior|above|earlier|preceding|"
        r"foregoing|instructions?|prompts?|rules?|guidelines?)\b|"
        r"\b(?:do not|don't|don’t|stop) (?:follow|obey)(?:ing)?\b[^.!?]{0,30}\b(?:rules?|instructions?|prompts?)\b|"
        r"\bnew instructions?:|\bsystem ?prompt\b|\b(?:developer|jailbreak|dan|god) mode\b|"
        r"\byou are now (?:\w+ ){0,3}(?:ai|assistant|mode|model|unrestricted)\b|"
        r"(?:^|\n|[.!?] )(?-i:SYSTEM|ASSISTANT|USER) ?:|<\|[a-z_]{2,20}\|>|\[/?(?:inst|sys|system)\]|<</?sys>>|"
        r"\b(?:reveal|print|output|repeat)\b[^.!?]{0,20}\b(?:prompt|instructions|api key|password)\b|"
        r"(?:指示|命令|指令|ルール|プロンプト|前提)[^。]{0,8}(?:無視|忘れ|破棄|従わな)|"
        r"システムプロンプト|あなたは今(?:から|は)|(?:と|を)(?:だけ|のみ)(?:出力|回答|答え)"
    ),
    "placeholder": (
        r"(?i)\[(?:insert|your|add|enter|product|name|brand|model|colou?r|todo|tbd)[^\]]{0,40}\]|\{\{?[^{}]{0,40}\}\}?|"
        r"<(?:insert|your|product|name)[^<>]{0,40}>|\b(?:todo|tbd|tba|xxx+)\b|lorem ipsum|"
        r"\b(?:no description|description not available|coming soon)\b|[〇○●]{2,}|ここに.{0,12}(?:入力|記入)"
    ),
    "boilerplate": rf"(?i)^(?:[\s.,;:!&・、。!?-]*(?:{_STOCK}))+[\s.,;:!・、。!?-]*$",
    "email": r"(?i)[a-z0-9._%+-]+ ?(?:@|[\[(]at[\])]) ?[a-z0-9-]+(?:\.[a-z0-9-]+)+",
    "phone": (
        rf"\b0[0-9]{{1,4}}{_DASH}[0-9]{{1,4}}{_DASH}[0-9]{{3,4}}\b|\b0[0-9]{{1,4}}\([0-9]{{1,4}}\)[0-9]{{3,4}}\b|"
        rf"\b0[789]0[0-9]{{8}}\b|\b0120[0-9]{{6}}\b|\([0-9]{{3}}\) ?[0-9]{{3}}{_DASH}[0-9]{{4}}\b|"
        r"\+[0-9]{1,3}[ -]?\(?[0-9]{1,4}\)?(?:[ -]?[0-9]{2,4}){2,3}\b"
    ),
    "url": r"(?i)\bhttps?://[^\s]+|\bwww\.[a-z0-9-]+\.[^\s]+",
    "markup": r"</?[a-zA-Z][^<>]{0,200}>|&(?:amp|lt|gt|quot|nbsp|#[0-9]+);|\*\*[^*]+\*\*|```|\[[^\]]+\]\([^)]+\)",
    "control": r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\x{FFFD}\x{202A}-\x{202E}\x{2066}-\x{2069}]",
}
"""Fault column -> RE2 pattern, matched after NFKC. The column holds the first match."""

_ENDS = r"[.!?。][\s\"'”’」』)\]*]*$"
_SPACED, _JAPANESE = r"\S\s+\S+\s+\S+\s+\S", r"[\x{3041}-\x{30FF}\x{4E00}-\x{9FFF}]"
_LEAST_JAPANESE, _SHOWN = 40, 24


def first_hits(texts: pa.Array) -> dict[str, pa.Array]:
    """``PATTERNS`` in (N,) NFKC texts: fault column -> (N,) the words found, null where there are none."""
    return {fault: _first(texts, pattern) for fault, pattern in PATTERNS.items()}


def open_ends(texts: pa.Array, length: pa.Array, *, most: int) -> pa.Array:
    """(N,) the last characters of texts that end without a full stop; null where a text ends as sentences do.

    Texts of fewer than four words, of more than ``most`` characters, and short Japanese ones are left out: they are
    usually labels, not sentences.
    """
    japanese = pc.match_substring_regex(texts, _JAPANESE)
    sentence = pc.if_else(japanese, pc.greater_equal(length, _LEAST_JAPANESE), pc.match_substring_regex(texts, _SPACED))
    unended = pc.invert(pc.match_substring_regex(texts, _ENDS))
    wanted = pc.and_(pc.and_(sentence, unended), pc.less_equal(length, most))
    return pc.if_else(wanted, pc.utf8_slice_codeunits(pc.utf8_rtrim_whitespace(texts), start=-_SHOWN), None)


def _first(texts: pa.Array, pattern: str) -> pa.Array:
    return pc.struct_field(pc.extract_regex(texts, f"(?P<found>{pattern})"), "found")
