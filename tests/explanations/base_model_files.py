"""Tiny base models in GGUF files that always continue a text after a colon in the same way."""

from __future__ import annotations

from pathlib import Path

import torch
from chat_model_files import teach
from gguf import GGUFWriter, TokenType
from transformers import LlamaConfig, LlamaForCausalLM
from transformers.convert_slow_tokenizer import bytes_to_unicode

FILE = "tiny.gguf"
END = "<|end|>"
SIZE, HIDDEN, HEADS, CONTEXT = 64, 32, 2, 16_384


def write_base(folder: Path, *, says: str, ends: str = "\n") -> Path:
    """A model in ``folder`` that goes on with ``says`` and then ``ends``, word for word; the words are distinct."""
    spelling = bytes_to_unicode()
    spelled = ["".join(spelling[byte] for byte in piece.encode()) for piece in _pieces(says)]
    tokens = [*spelling.values(), "Ġ" + spelling[ord("t")], END]
    tokens += [piece for piece in spelled if piece not in tokens]
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokens),
            hidden_size=HIDDEN,
            intermediate_size=SIZE,
            num_hidden_layers=1,
            num_attention_heads=HEADS,
            max_position_embeddings=CONTEXT,
        )
    )
    torch.manual_seed(0)
    after = [tokens.index(spelling[ord(ends)])] if ends else [tokens.index(spelled[0])]
    teach(model, [tokens.index(spelling[ord(":")]), *(tokens.index(piece) for piece in spelled), *after])
    folder.mkdir(parents=True, exist_ok=True)
    _write(folder / FILE, model, tokens)
    return folder


def _pieces(text: str) -> list[str]:
    return [f" {word}" for word in text.split(" ")]


def _write(path: Path, model: LlamaForCausalLM, tokens: list[str]) -> None:
    writer = GGUFWriter(path, "llama")
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(HIDDEN)
    writer.add_block_count(1)
    writer.add_feed_forward_length(SIZE)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS)
    writer.add_layer_norm_rms_eps(model.config.rms_norm_eps)
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(tokens)
    writer.add_token_types([TokenType.CONTROL if token == END else TokenType.NORMAL for token in tokens])
    writer.add_token_merges(["Ġ t"])
    writer.add_eos_token_id(tokens.index(END))
    for name, weight in model.state_dict().items():
        writer.add_tensor(_name(name), weight.numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _name(name: str) -> str:
    """That of llama.cpp. The order of rows of queries and keys does not matter: attention adds nothing."""
    outside = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output"}
    inside = {
        "self_attn.q_proj": "attn_q",
        "self_attn.k_proj": "attn_k",
        "self_attn.v_proj": "attn_v",
        "self_attn.o_proj": "attn_output",
        "mlp.gate_proj": "ffn_gate",
        "mlp.up_proj": "ffn_up",
        "mlp.down_proj": "ffn_down",
        "input_layernorm": "attn_norm",
        "post_attention_layernorm": "ffn_norm",
    }
    stem = name.removesuffix(".weight")
    known = outside.get(stem) or f"blk.0.{inside[stem.removeprefix('model.layers.0.')]}"
    return f"{known}.weight"
