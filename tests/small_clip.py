"""The files of a small CLIP as the transformers library writes them: weights, settings, tokenizer, preprocessing."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from small_architectures import VOCABULARY, write_tokenizer
from transformers import CLIPConfig, CLIPModel

PICTURES = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(2))


def write_clip(folder: Path, *, activation: str = "quick_gelu", context: int = 24) -> Path:
    """A CLIP with random weights and a byte-level tokenizer of its own."""
    tower = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2}
    tower["hidden_act"] = activation
    vision = tower | {"image_size": 32, "patch_size": 8}
    marks = {"bos_token_id": 1, "pad_token_id": 2, "eos_token_id": 3}
    text = tower | {"vocab_size": VOCABULARY, "max_position_embeddings": context} | marks
    torch.manual_seed(11)
    CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=16)).save_pretrained(folder)
    write_tokenizer(folder, ["a blue kettle", "a red pot"], first=("<unk>",))
    how = {"image_mean": [0.48, 0.46, 0.41], "image_std": [0.27, 0.26, 0.28], "resample": 3}
    (folder / "preprocessor_config.json").write_text(json.dumps(how))
    return folder
