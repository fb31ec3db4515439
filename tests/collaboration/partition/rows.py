"""Tiny random models on disk, and a row of stages that is driven by hand."""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from transformers import LlamaConfig, LlamaForCausalLM, Qwen2Config, Qwen2ForCausalLM, Qwen3Config, Qwen3ForCausalLM

from aiflow.collaboration.partition.client import Client
from aiflow.collaboration.partition.stage import Stage
from aiflow.collaboration.partition.weights import Checkpoint

V, DEPTH, CONTEXT = 97, 4, 128
SHAPE: dict[str, Any] = {
    "vocab_size": V, "hidden_size": 48, "intermediate_size": 64, "num_hidden_layers": DEPTH, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": CONTEXT, "initializer_range": 0.4, "pad_token_id": 0,
    "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip
KINDS: dict[str, Any] = {
    "llama": lambda: LlamaForCausalLM(LlamaConfig(**SHAPE, tie_word_embeddings=True)),
    "qwen2": lambda: Qwen2ForCausalLM(Qwen2Config(**SHAPE, tie_word_embeddings=False)),
    "qwen3": lambda: Qwen3ForCausalLM(Qwen3Config(**SHAPE, head_dim=16, tie_word_embeddings=True)),
}


@torch.inference_mode()
def alone(folder: Path, prompt: Sequence[int], tokens: int) -> list[int]:
    """What the whole model says, greedily, one forward pass for each token and no cache."""
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder, dtype="float32").eval()
    ids = list(prompt)
    for _ in range(tokens):
        ids.append(int(model(torch.tensor([ids])).logits[0, -1].argmax()))
    return ids[len(prompt) :]


def row(checkpoint: Checkpoint, cuts: Sequence[int], *, tokens: int = 1000, **more: Any) -> list[Stage]:
    """Stages of the blocks between two cuts each."""
    edges = [0, *cuts, checkpoint.depth]
    return [Stage(checkpoint.piece(a, b), tokens=tokens, context=CONTEXT, **more) for a, b in pairwise(edges)]


def through(stages: Sequence[Stage], data: bytes) -> bytes | None:
    """A message along the row."""
    reply: bytes | None = data
    for stage in stages:
        if reply is not None:
            reply = stage.receive(reply)
    return reply


def say(stages: Sequence[Stage], client: Client, tokens: int) -> list[int]:
    """So many tokens of an answer, from a new epoch on."""
    work = client.begin(48 * 4)
    while len(client.said) < tokens:
        for one in work:
            reply = through(stages, one)
            assert reply is not None
            assert client.take(reply) is not None
        work = [client.next()]
    return client.said
