"""Text towers of open_clip, opened up: its own ``TextTransformer`` and any encoder from Hugging Face."""

from __future__ import annotations

from typing import Any, TypeAlias

import torch
from open_clip.hf_model import HFTextEncoder, MaxPooler
from open_clip.transformer import TextTransformer
from torch import nn
from torch.nn import functional as F

from entityclip.errors import ConfigError
from entityclip.model.tokens import TowerOutput

TextTower: TypeAlias = TextTransformer | HFTextEncoder


def require_known_text_tower(tower: TextTower) -> None:
    """Refuse a tower whose pooled vector or tokens cannot be reached.

    Raises:
        ConfigError: The tower is of another kind, pools nothing, or has no way into the joint space.
    """
    if not isinstance(tower, TextTower):
        raise ConfigError(f"text tower {type(tower).__name__}: expected a TextTransformer or HFTextEncoder")
    if isinstance(tower, TextTransformer):
        if tower.pool_type == "none":
            raise ConfigError("text tower with pooling 'none': gives no single vector; use first, last, argmax or eos")
    elif not hasattr(tower, "proj"):
        raise ConfigError("text tower: its width is not embed_dim, so hf_proj_type must be 'linear' or 'mlp'")
    elif tower.config.pad_token_id is None:
        raise ConfigError(f"text tower {tower.config.model_type}: its config.json must say what pad_token_id is")


def longest_text(tower: TextTower) -> int | None:
    """How many tokens the tower has positions for; None where there is no end (relative positions)."""
    if isinstance(tower, TextTransformer):
        return tower.context_length
    positions = getattr(getattr(tower.transformer, "embeddings", None), "position_embeddings", None)
    if positions is None:
        return None
    # RoBERTa counts from behind the padding id.
    return positions.num_embeddings - (0 if positions.padding_idx is None else positions.padding_idx + 1)


def text_tokens(tower: TextTower, ids: torch.Tensor) -> TowerOutput:
    """(B, L) token ids, padded with what the tower's tokenizer pads with -> tokens (B, L', D).

    The pooled position is what open_clip's own ``encode_text`` gives for the same ids at full length. Where that is
    none of the tokens, it is put in front.
    """
    return _hugging_face_tokens(tower, ids) if isinstance(tower, HFTextEncoder) else _clip_tokens(tower, ids)


def text_blocks(tower: TextTower) -> list[nn.Module]:
    """The repeated blocks of the tower, from input to output.

    Raises:
        ConfigError: A Hugging Face tower whose blocks cannot be found.
    """
    if isinstance(tower, TextTransformer):
        return list(tower.transformer.resblocks)
    for name in ("encoder.layer", "layer", "layers", "block", "encoder.layers", "encoder.block"):
        try:
            return list(tower.transformer.get_submodule(name))
        except AttributeError:
            continue
    raise ConfigError(f"text tower {tower.config.model_type}: its blocks are not known here")


def attend_causally(tower: TextTower) -> None:
    """Let the blocks of a causal tower tell PyTorch in training that their mask is causal: it then reads no mask, and
    may take a kernel that has none. Other towers stay as they are.
    """
    if isinstance(tower, TextTransformer) and tower.attn_mask is not None and tower.cls_emb is None:
        for block in tower.transformer.resblocks:
            if isinstance(block.attn, nn.MultiheadAttention):
                block.attn.register_forward_pre_hook(_causal, with_kwargs=True)


def _causal(
    attention: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    return inputs, named | {"is_causal": attention.training}


# ---------------------------------------------------------------- one reader for each kind
def _clip_tokens(tower: TextTransformer, ids: torch.Tensor) -> TowerOutput:
    if tower.attn_mask is None or tower.pool_type == "last" or tower.cls_emb is not None:
        # It attends to padding, or reads it, or puts a class token behind it: only the full length is the same text.
        ids = F.pad(ids, (0, tower.context_length - ids.shape[1]), value=tower.pad_id)
    x, attention = tower._embeds(ids)
    if attention is not None and attention.ndim == 2:  # the causal mask comes in full length
        attention = attention[: x.shape[1], : x.shape[1]]
    tokens = tower.ln_final(tower.transformer(x, attn_mask=attention))
    if isinstance(tower.text_projection, nn.Linear):
        tokens = tower.text_projection(tokens)
    elif tower.text_projection is not None:
        tokens = tokens @ tower.text_projection
    return TowerOutput(tokens, *_read_and_attended(tower, ids))


def _read_and_attended(tower: TextTransformer, ids: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """(B,) the pooled position, and (B, L) or, with a class token behind the text, (B, L + 1) what is no padding."""
    length = ids.shape[1]
    positions = torch.arange(length, device=ids.device)
    if tower.cls_emb is not None:
        return torch.full_like(ids[:, 0], length), F.pad(ids != tower.pad_id, (0, 1), value=True)
    if tower.pool_type in ("argmax", "eos"):  # behind the end of a text there is padding alone, whatever its id
        at = ids.argmax(dim=1) if tower.pool_type == "argmax" else (ids == tower.eos_id).int().argmax(dim=1)
        return at, positions <= at[:, None]
    at = torch.full_like(ids[:, 0], 0 if tower.pool_type == "first" else length - 1)
    return at, (ids != tower.pad_id) | (positions == at[:, None])


def _hugging_face_tokens(tower: HFTextEncoder, ids: torch.Tensor) -> TowerOutput:
    attended = ids != tower.config.pad_token_id
    output = tower.transformer(input_ids=ids, attention_mask=attended.long())
    hidden = output.last_hidden_state
    if isinstance(tower.pooler, MaxPooler):  # open_clip's own takes the maximum over the padding
        pooled = hidden.masked_fill(~attended[..., None], -torch.inf).amax(dim=1)
    else:
        pooled = tower.pooler(output, attended.long())
    tokens = tower.proj(torch.cat([pooled[:, None], hidden], dim=1))
    return TowerOutput(tokens, torch.zeros_like(ids[:, 0]), F.pad(attended, (1, 0), value=True))
