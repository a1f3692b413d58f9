"""The invented products' explanations in Japanese: the same four forms and the same facts as in English."""

from __future__ import annotations

import random

from entityclip.data.sources.synthetic.products import FORMS, UNALTERED, Alteration, Product, about_part
from entityclip.data.sources.synthetic.silhouettes import SILHOUETTES

_WORDS = {
    "kettle": "やかん", "lamp": "ランプ", "speaker": "スピーカー", "fan": "扇風機", "clock": "目覚まし時計",
    "bottle": "ボトル", "toaster": "トースター", "radio": "ラジオ", "chair": "椅子", "mug": "マグカップ",
    "camera": "カメラ", "backpack": "リュックサック",
    "handle": "取っ手", "base": "台座", "cone": "振動板", "blades": "羽根", "bells": "ベル", "cap": "蓋",
    "dial": "ダイヤル", "legs": "脚", "lens ring": "レンズの輪", "pocket": "ポケット",
    "red": "赤", "orange": "橙色", "yellow": "黄色", "green": "緑", "blue": "青", "purple": "紫", "pink": "桃色",
    "brown": "茶色", "white": "白", "black": "黒",
}  # fmt: skip
_SURFACES = {
    "plain": ("模様のない無地の表面", "柄がまったくない仕上げ"),
    "vertical stripes": ("{accent}の縦縞", "縦に走る{accent}の縞"),
    "horizontal stripes": ("{accent}の横縞", "横に走る{accent}の縞"),
    "dots": ("全体に散った{accent}の水玉", "{accent}の丸い水玉"),
    "checks": ("{accent}の市松模様", "{accent}の格子柄"),
    "zigzags": ("{accent}のジグザグ模様", "横に走る{accent}のジグザグ"),
}
_LABELS = {
    "round": ("小さな丸いラベル", "丸いシール"),
    "diamond": ("ひし形のラベル", "ひし形のシール"),
    "nameplate": ("型番を記した銘板", "印字された銘板"),
}
_SENTENCES = dict(
    zip(
        FORMS,
        (
            "{code}は、{surface}が特徴の{body}の{material}{kind}です。[{count}{part}は{accent}で、]正面に{label}が付いています。",
            "{body}の{material}{kind}を探してください。本体には{surface}が見え、{label}があり"
            "[、{count}{part}は{accent}で塗られてい]ます。",
            "この{material}{kind}には{label}が付いています。主な色は{body}、表面は{surface}[で、{count}{part}の色は{accent}]です。",
            "{name}は[{accent}の{count}{part}で知られています。]{body}に仕上げた{material}{kind}で、"
            "{surface}を持ち、まず目に入るのは{label}です。",
        ),
        strict=True,
    )
)


def explain_in_japanese(product: Product, *, seed: int, altered: Alteration = UNALTERED) -> dict[str, str]:
    """Four texts, one per form, that each name the kind, both colours, the pattern and the label."""
    return {
        form: _sentence(
            product, about_part(sentence, altered), random.Random(f"{seed}/{product.code}/{form}/ja"), altered
        )
        for form, sentence in _SENTENCES.items()
    }


def _sentence(product: Product, sentence: str, rng: random.Random, altered: Alteration) -> str:
    look, accent = product.look, _WORDS[product.look.accent]
    return sentence.format(
        code=product.code,
        name=product.name_ja,
        kind=_WORDS[look.kind],
        body=_WORDS[look.body],
        accent=accent,
        part=_WORDS[altered.part or SILHOUETTES[look.kind].accent_part],
        count=altered.number,
        material=altered.material,
        surface=rng.choice(_SURFACES[look.pattern]).format(accent=accent),
        label=rng.choice(_LABELS[look.label]),
    )
