"""Small architectures of every kind, as content, and the files of small Hugging Face text towers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tokenizers import Tokenizer as Backend
from tokenizers import models, pre_tokenizers, processors, trainers
from transformers import BertConfig, M2M100Config, MT5Config, PreTrainedTokenizerFast, XLMRobertaConfig

DIM = 64
TEXT = {"context_length": 12, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 2}
VIT = {"image_size": 32, "layers": 2, "width": 64, "patch_size": 16}
RESNET = {"image_size": 64, "layers": [1, 1, 1, 1], "width": 8}
VOCABULARY = 120

IMAGE_TOWERS: dict[str, dict[str, Any]] = {
    "vit": VIT,
    "vit, mean of the patches": VIT | {"pool_type": "avg"},
    "vit, norm behind the pooling": VIT | {"pool_type": "avg", "final_ln_after_pool": True},
    "vit, norm behind the class token": VIT | {"final_ln_after_pool": True},
    "coca, attentional pooling": VIT | {"attentional_pool": True, "attn_pooler_queries": 5, "attn_pooler_heads": 2},
    "resnet": RESNET,
    "timm resnet": {"timm_model_name": "test_resnet", "image_size": 64},
    "timm resnet, mlp": {"timm_model_name": "test_resnet", "timm_proj": "mlp", "image_size": 64},
    "timm resnet, rotary pooling": {
        "timm_model_name": "resnet10t",
        "timm_pool": "rot_attn",
        "timm_proj": "",
        "image_size": 64,
    },
    "timm convnext": {"timm_model_name": "test_convnext", "timm_pool": "", "image_size": 64},
    "timm efficientnet": {"timm_model_name": "test_efficientnet", "image_size": 64},
    "timm vit, class token": {"timm_model_name": "test_vit", "timm_pool": "token", "timm_proj": "", "image_size": 160},
    "timm vit, mean": {"timm_model_name": "test_vit", "timm_pool": "avg", "image_size": 160},
    "timm vit, registers": {"timm_model_name": "test_vit2", "timm_pool": "avg", "timm_proj": "", "image_size": 64},
    "timm resnet, attention pooling": {
        "timm_model_name": "resnet10t",
        "timm_pool": "abs_attn",
        "timm_proj": "",
        "image_size": 64,
    },
    "timm maxvit": {"timm_model_name": "test_maxvit", "image_size": 160},
    "siglip, attention pooling": {
        "timm_model_name": "test_vit",
        "timm_pool": "map",
        "timm_proj": "none",
        "image_size": 160,
    },
}

TEXT_TOWERS: dict[str, dict[str, Any]] = {
    "clip": TEXT,
    "end of text": TEXT | {"pool_type": "eos", "eos_id": 2},
    "first": TEXT | {"pool_type": "first", "no_causal_mask": True},
    "siglip": TEXT | {"pool_type": "last", "no_causal_mask": True, "proj_bias": True, "pad_id": 1},
    "both directions": TEXT | {"no_causal_mask": True},
    "coca": TEXT | {"embed_cls": True, "output_tokens": True},
}

SMALL = {"vocab_size": VOCABULARY, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
ROBERTA = XLMRobertaConfig(**SMALL, intermediate_size=32, max_position_embeddings=14, pad_token_id=1)
BERT = BertConfig(**SMALL, intermediate_size=32, max_position_embeddings=12, pad_token_id=1)
T5 = MT5Config(vocab_size=VOCABULARY, d_model=32, d_kv=16, d_ff=32, num_layers=2, num_heads=2, pad_token_id=1)
M2M = M2M100Config(
    vocab_size=VOCABULARY,
    d_model=32,
    encoder_layers=2,
    decoder_layers=1,
    encoder_attention_heads=2,
    decoder_attention_heads=2,
    encoder_ffn_dim=32,
    decoder_ffn_dim=32,
    pad_token_id=1,
)


def architecture(*, vision: dict[str, Any] = VIT, text: dict[str, Any] = TEXT, **more: Any) -> dict[str, Any]:
    """open_clip's settings of a model with these towers."""
    return {"embed_dim": DIM, "vision_cfg": dict(vision), "text_cfg": dict(text)} | more


def coca(*, vision: dict[str, Any] = VIT) -> dict[str, Any]:
    """The same with CoCa's text tower and decoder."""
    decoder = {"width": 32, "heads": 2, "layers": 1, "context_length": 12, "vocab_size": 49408, "attn_pooler_heads": 2}
    vision = vision | {"output_tokens": True}
    return architecture(vision=vision, text=TEXT_TOWERS["coca"], multimodal_cfg=decoder)


def hugging_face_text(**settings: Any) -> dict[str, Any]:
    """``text_cfg`` of a text tower whose files are somewhere else."""
    return {"hf_model_name": "somebody/encoder", "hf_tokenizer_name": "somebody/encoder"} | settings


def write_tokenizer(folder: Path, texts: list[str], *, first: tuple[str, ...] = ()) -> Path:
    """A byte-level tokenizer learned from ``texts``, marked like XLM-RoBERTa's: 0 start, 1 padding, 2 end.

    ``first`` are further marks before these three.
    """
    backend = Backend(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    marks = [*first, "<s>", "<pad>", "</s>"]
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())[:VOCABULARY]
    trainer = trainers.BpeTrainer(vocab_size=VOCABULARY, special_tokens=marks, initial_alphabet=alphabet[:90])
    backend.train_from_iterator(texts, trainer)
    backend.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", len(first)), ("</s>", len(first) + 2)]
    )
    named = {"bos_token": "<s>", "pad_token": "<pad>", "eos_token": "</s>", "sep_token": "</s>"}
    fast = PreTrainedTokenizerFast(tokenizer_object=backend, **named)
    fast.save_pretrained(folder)
    return folder
