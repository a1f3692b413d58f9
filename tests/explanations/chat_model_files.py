"""Tiny chat models that always generate the same text; with and without vision."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    CLIPImageProcessor,
    CLIPVisionConfig,
    LlamaConfig,
    LlamaForCausalLM,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedTokenizerFast,
)

import entityclip.explanations

REPLY = json.dumps({"text": "A red kettle with white dots.", "visible": ["red"], "doubts": ["its age"]})
JAPANESE = json.dumps(
    {"text": "白い水玉模様の赤いやかんで、ふたは黒いです。", "visible": ["赤"], "doubts": []}, ensure_ascii=False
)
SPECIAL = ["<|pad|>", "<|end|>", "<|system|>", "<|user|>", "<|assistant|>", "<image>"]
TEMPLATE = """{% for turn in messages %}<|{{ turn.role }}|>{% if turn.content is string %}{{ turn.content }}{% else %}\
{% for part in turn.content %}{% if part.type == "image" %}<image>{% else %}{{ part.text }}{% endif %}{% endfor %}\
{% endif %}<|end|>{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"""


def write_chatty(folder: Path, *, says: str = REPLY, ends: bool = True, sees: bool = False) -> Path:
    """A model in ``folder`` that says ``says``, word for word; without an end it says it again and again."""
    tokenizer = _tokenizer(says.split(" "))
    text = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=16_384,
        eos_token_id=tokenizer.eos_token_id,
        bos_token_id=None,
        pad_token_id=tokenizer.pad_token_id,
    )
    torch.manual_seed(0)
    if sees:
        eyes = CLIPVisionConfig(
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=1,
            num_attention_heads=2,
            image_size=32,
            patch_size=16,
        )
        image = tokenizer.convert_tokens_to_ids("<image>")
        config = LlavaConfig(vision_config=eyes, text_config=text, image_token_index=image, vision_feature_layer=-1)
        model = LlavaForConditionalGeneration(config)
        processor = LlavaProcessor(
            image_processor=CLIPImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}),
            tokenizer=tokenizer,
            patch_size=16,
            vision_feature_select_strategy="default",
            num_additional_image_tokens=1,
            chat_template=TEMPLATE,
        )
        processor.save_pretrained(folder)
    else:
        model = LlamaForCausalLM(text)
        tokenizer.save_pretrained(folder)
    words = tokenizer.convert_tokens_to_ids([word + " " for word in says.split(" ")])
    start = tokenizer.convert_tokens_to_ids("<|assistant|>")
    teach(model, [start, *words, tokenizer.eos_token_id if ends else words[0]])
    model.save_pretrained(folder)
    return folder


def _tokenizer(words: list[str]) -> PreTrainedTokenizerFast:
    """Each word of the reply is a token of its own; the rest is learnt from the prompts."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    prompts = Path(entityclip.explanations.__file__).parent.glob("prompts/*")
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=2_000, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train(list(map(str, prompts)), trainer)
    assert len(set(words)) == len(words)
    tokenizer.add_tokens([word + " " for word in words])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<|pad|>", eos_token="<|end|>", chat_template=TEMPLATE
    )


def teach(model: torch.nn.Module, tokens: list[int]) -> None:
    """Every token calls the next; the model attends to nothing else, so that no prompt can put it off."""
    for name, weight in model.named_parameters():
        if name.endswith("o_proj.weight"):
            weight.data.zero_()
            weight.requires_grad_(False)
    ids = torch.tensor([tokens])
    optimizer = torch.optim.Adam((p for p in model.parameters() if p.requires_grad), lr=1e-2)
    for _ in range(60):
        optimizer.zero_grad()
        loss = model(input_ids=ids, labels=ids).loss
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.1
