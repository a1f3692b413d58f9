"""Write the data of a small shop as a spreadsheet program in Japan exports them: CSV in Shift_JIS, and pictures.

python examples/own_csv/make_shop.py shop
"""

from __future__ import annotations

import csv
import random
import sys
from collections.abc import Sequence
from itertools import product
from pathlib import Path

from PIL import Image, ImageDraw

COLOURS = {"赤い": "#c8382e", "青い": "#2f5fb3", "緑の": "#3d8b4f", "白い": "#f2efe6", "黄色い": "#e2b33c"}
KINDS = {"やかん": "丸い胴に短い注ぎ口", "急須": "平たい胴に横の取っ手", "花瓶": "細い首に広い口", "皿": "浅い円形の縁"}
PICTURES_EACH = 6

MAPPING = """\
file: 写真
entity: 商品コード
images: photos
default_language: ja
entities:
  table: 商品マスタ.csv
  entity: 商品コード
  aliases: [商品名]
  explanations: [説明文]
  category: 分類
"""


def make_shop(folder: Path) -> None:
    """Write ``商品写真.csv``, ``商品マスタ.csv``, ``mapping.yaml`` and ``photos/`` into ``folder``."""
    (folder / "photos").mkdir(parents=True, exist_ok=True)
    pictures, products = [], []
    for number, (colour, kind) in enumerate(product(COLOURS, KINDS)):
        code = f"YK-{10 + number}"
        text = f"{colour}{kind}です。{KINDS[kind]}があり、背景は明るい灰色です。"
        products.append((code, f"{colour}{kind}", kind, text))
        for shot in range(PICTURES_EACH):
            file = f"{code}_{shot}.jpg"
            draw(kind, COLOURS[colour], random.Random(f"{code} {shot}")).save(folder / "photos" / file)
            pictures.append((code, file))
    write_csv(folder / "商品写真.csv", ("商品コード", "写真"), pictures)
    write_csv(folder / "商品マスタ.csv", ("商品コード", "商品名", "分類", "説明文"), products)
    (folder / "mapping.yaml").write_text(MAPPING, encoding="utf-8")


def draw(kind: str, colour: str, luck: random.Random) -> Image.Image:
    """A picture of 96 by 96 pixels with the thing somewhere near the middle."""
    x, y, r = luck.randint(40, 56), luck.randint(40, 56), luck.randint(18, 26)
    grey = luck.randint(200, 230)
    picture = Image.new("RGB", (96, 96), (grey, grey, grey))
    pen = ImageDraw.Draw(picture)
    if kind == "やかん":
        pen.polygon([(x + r // 2, y), (x + r + 14, y - r // 2), (x + r, y + r // 2)], fill=colour)
        pen.arc([x - r, y - r - 12, x + r, y + 8], 180, 360, fill="black", width=3)
    elif kind == "急須":
        pen.rectangle([x + r - 4, y - 4, x + r + 18, y + 3], fill="black")
    elif kind == "花瓶":
        pen.polygon([(x - 6, y), (x + 6, y), (x + r // 2, y - r - 14), (x - r // 2, y - r - 14)], fill=colour)
    height = {"やかん": r, "急須": r * 2 // 3, "花瓶": r, "皿": r // 3}[kind]
    pen.ellipse([x - r, y - height, x + r, y + height], fill=colour, outline="black")
    return picture


def write_csv(path: Path, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A table in Shift_JIS (cp932), as Excel in Japan writes it."""
    with path.open("w", encoding="cp932", newline="") as stream:
        csv.writer(stream).writerows([header, *rows])


if __name__ == "__main__":
    make_shop(Path(sys.argv[1]))
    print(f"{sys.argv[1]}: {len(COLOURS) * len(KINDS)} products with {PICTURES_EACH} pictures each")
