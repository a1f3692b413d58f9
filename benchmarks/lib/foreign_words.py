"""What the foreign catalogue's tables say of a product, in English and in Japanese."""

from __future__ import annotations

import random

from lib.foreign_shapes import Design

Language = str
_JA = {
    "storage jar": "保存瓶", "storm lantern": "ランタン", "watering can": "じょうろ", "stool": "スツール",
    "birdhouse": "巣箱", "hand weight": "ダンベル", "planter": "植木鉢", "tea carton": "茶箱",
    "garden sprayer": "霧吹き", "pepper mill": "胡椒挽き", "toy truck": "おもちゃのトラック", "hand bell": "手持ちの鐘",
    "moss": "苔色", "brick": "煉瓦色", "sand": "砂色", "navy": "紺色", "teal": "青緑", "plum": "すもも色",
    "charcoal": "墨色", "ivory": "象牙色", "mustard": "からし色", "rose": "ばら色", "sky": "空色", "chestnut": "栗色",
    "short": "低め", "standard": "中くらい", "tall": "高め",
    "star": "星", "leaf": "葉", "wave": "波形の円", "ring": "輪", "arrow": "三角", "moon": "三日月", "cross": "十字",
    "knob lid": "つまみ付きの蓋", "flat lid": "平らな蓋", "cork stopper": "コルク栓",
    "carrying arc": "弓形の大きな持ち手", "hanging ring": "上に付いた吊り輪", "side grip": "横に付いた握り",
    "top handle": "上に渡した取っ手", "rear handle": "後ろの取っ手", "double handle": "上と後ろの二つの取っ手",
    "round seat with four legs": "丸い座面と四本の脚", "round seat with three legs": "丸い座面と三本の脚",
    "square seat with four legs": "四角い座面と四本の脚",
    "gabled roof": "切妻の屋根", "flat roof": "平らな屋根", "sloping roof": "片流れの屋根",
    "round ends": "円い両端", "six-sided ends": "角張った両端", "domed ends": "丸く膨らんだ両端",
    "spiky plant": "とがった葉の植物", "leafy plant": "葉の茂った植物", "no plant": "植物の入っていない口",
    "rope handle": "縄の持ち手", "gabled top": "山形の上部", "plain top": "平らな上部",
    "trigger head": "引き金の付いた頭", "pump head": "押し下げる頭", "mist cap": "円筒形のキャップ",
    "ball top": "玉形の頭", "crown top": "王冠形の頭", "crank handle": "手回しの柄",
    "open bed": "平らな荷台", "box body": "箱形の荷台", "tank body": "丸いタンク",
    "straight handle": "まっすぐな柄", "loop handle": "輪になった柄", "ball handle": "玉の付いた柄",
}  # fmt: skip
_PATTERNS = {
    "plain": ("one colour without a pattern", "表面は無地で、柄はありません。"),
    "rings": ("rings in {trim} around it", "表面には{trim}の横縞が巡っています。"),
    "panels": ("upright bars in {trim}", "表面には{trim}の縦縞が並んでいます。"),
    "spots": ("spots in {trim} all over", "表面には{trim}の水玉が散っています。"),
    "half and half": ("its lower part in {trim}", "下の方は{trim}に塗り分けられています。"),
}
_ENGLISH = (
    "A {size} {family} in {main}. The surface has {pattern}. It has {variant_a}, and the smaller parts are {trim}. "
    "{label}",
    "{label} This {family} is {size} and mostly {main}, with {pattern}. You recognise it by {variant_the}; "
    "trimmings are {trim}.",
)
_JAPANESE = (
    "{main}の{family}で、高さは{size}です。{pattern}{variant}があり、細かな部品は{trim}です。{label}",
    "{label}全体が{main}の{family}です。{size}の大きさです。{pattern}目印は{variant}で、縁や部品には{trim}が使われています。",
)


def describe(design: Design, language: Language, *, word: str, form: int) -> str:
    """Three or four sentences on what can be seen; ``form`` picks the wording."""
    pattern = _PATTERNS[design.pattern][language == "ja"].format(trim=_in(language, design.trim))
    common = {"pattern": pattern} | {key: _in(language, getattr(design, key)) for key in ("family", "main", "trim")}
    if language == "ja":
        mark = _JA.get(design.emblem)
        label = f"正面のラベルには{mark}の印と「{word}」の文字が入っています。" if mark else "ラベルは付いていません。"
        return _JAPANESE[form].format(**common, size=_JA[design.size], variant=_JA[design.variant], label=label)
    label = (
        "There is no label on it."
        if design.emblem == "none"
        else f'A pale label on the front shows a {design.emblem} and the word "{word}".'
    )
    plural = design.variant.endswith("ends") or design.variant.startswith("no ")
    return _ENGLISH[form].format(
        **common,
        size="medium-high" if design.size == "standard" else design.size,
        variant_a=design.variant
        if plural
        else f"an {design.variant}"
        if design.variant[0] == "o"
        else f"a {design.variant}",
        variant_the="the absence of a plant" if design.variant == "no plant" else f"the {design.variant}",
        label=label,
    )


def caption(design: Design, language: Language, *, series: str, code: str, form: int) -> str:
    """The line beside a picture."""
    family, main, size = (_in(language, value) for value in (design.family, design.main, design.size))
    if language == "ja":
        return (f"{series} {family}（{main}・{size}）", f"品番{code}、{main}の{family}、斜めから")[form]
    return (f"{series} {family}, {main}, {size}", f"no. {code}: {main} {family} from an angle")[form]


def kind(design: Design, language: Language) -> str:
    """The family's name."""
    return _in(language, design.family)


def _in(language: Language, word: str) -> str:
    return _JA[word] if language == "ja" else word


# ---------------------------------------------------------------- names
_FIRST = {
    "Fern": "ファーン", "Gold": "ゴールド", "Mist": "ミスト", "Cross": "クロス", "Hart": "ハート", "Pell": "ペル",
    "Thorn": "ソーン", "Quill": "クイル", "Birch": "バーチ", "Wren": "レン",
}  # fmt: skip
_SECOND = {
    "wick": "ウィック", "tide": "タイド", "gate": "ゲート", "holm": "ホルム", "stead": "ステッド", "moor": "ムーア",
    "field": "フィールド", "ridge": "リッジ",
}  # fmt: skip


def series(rng: random.Random) -> list[tuple[str, str]]:
    """All trade names in the order of the generator: Latin, katakana."""
    names = [(a + b, _FIRST[a] + _SECOND[b]) for a in _FIRST for b in _SECOND]
    rng.shuffle(names)
    return names
