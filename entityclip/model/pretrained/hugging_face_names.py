"""Weights of a CLIP of the ``transformers`` library under open_clip's names."""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch

_RENAMED = (
    (r"^vision_model\.embeddings\.class_embedding$", "visual.class_embedding"),
    (r"^vision_model\.embeddings\.patch_embedding\.", "visual.conv1."),
    (r"^vision_model\.embeddings\.position_embedding\.weight$", "visual.positional_embedding"),
    (r"^vision_model\.pre_layrnorm\.", "visual.ln_pre."),
    (r"^vision_model\.post_layernorm\.", "visual.ln_post."),
    (r"^visual_projection\.weight$", "visual.proj"),
    (r"^text_model\.embeddings\.token_embedding\.", "text.token_embedding."),
    (r"^text_model\.embeddings\.position_embedding\.weight$", "text.positional_embedding"),
    (r"^text_model\.final_layer_norm\.", "text.ln_final."),
    (r"^text_projection\.weight$", "text.text_projection"),
    (r"^vision_model\.encoder\.layers\.", "visual.transformer.resblocks."),
    (r"^text_model\.encoder\.layers\.", "text.transformer.resblocks."),
    (r"\.self_attn\.out_proj\.", ".attn.out_proj."),
    (r"\.layer_norm([12])\.", r".ln_\1."),
    (r"\.mlp\.fc1\.", ".mlp.c_fc."),
    (r"\.mlp\.fc2\.", ".mlp.c_proj."),
)
_ATTENTION = re.compile(r"(.*)\.self_attn\.([qkv])_proj\.(weight|bias)")
_TRANSPOSED = ("visual.proj", "text.text_projection")


def open_clip_names(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The same tensors under open_clip's names, query, key and value in one; those of other files unchanged."""
    if not any(name.startswith(("vision_model.", "text_model.")) for name in tensors):
        return dict(tensors)
    made: dict[str, torch.Tensor] = {}
    attention: dict[str, dict[str, torch.Tensor]] = {}
    for name, tensor in tensors.items():
        if name.endswith("position_ids"):  # a buffer that transformers has given up
            continue
        new = name
        for pattern, replacement in _RENAMED:
            new = re.sub(pattern, replacement, new)
        if found := _ATTENTION.fullmatch(new):
            attention.setdefault(f"{found[1]}.attn.in_proj_{found[3]}", {})[found[2]] = tensor
        else:
            made[new] = tensor.T.contiguous() if new in _TRANSPOSED else tensor
    for name, parts in attention.items():
        made[name] = torch.cat([parts[part] for part in "qkv" if part in parts])
    return made
