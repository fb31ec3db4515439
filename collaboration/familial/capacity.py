"""Information capacity: bits of text that a model saves per token, over the logarithm of its operations per token.

IC = (text bits - sum of -log2 p(x_i | x_<i) + bias) / log2(N), averages per predicted token, N operations per token.
A tokenizer enters through the text bits per token: fewer, longer tokens raise them. The first token of a sample is not
predicted, so neither its bits nor its text count. Knows causal language models of any library that return logits, and
nothing of exits: a member of a family is a model like any other. Source: arXiv 2511.08066 and its released code.

Legend: B samples, T tokens, V vocabulary.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import log2
from typing import Any

import torch
from torch import Tensor, nn

from aiflow.collaboration.familial.linear import First, LowRank
from aiflow.errors import InputError

MIXED_TEXT_BIAS = -24.0
"""The authors' bias for their mixed text set; their other sets have others (-18.7 and -27 bits per token)."""


@dataclass(frozen=True, kw_only=True)
class Capacity:
    """``value``: the capacity; ``gain_bits``: saved per token, before the bias; the rest is what it was made of."""

    value: float
    gain_bits: float
    flops: float
    tokens: int
    bits_per_token: float
    text_bits_per_token: float


def capacity(
    model: Any, tokenizer: Any, texts: Sequence[str], length: int, *, bias: float = 0.0, batch_size: int = 8
) -> Capacity:
    """Information capacity of a causal model with its tokenizer on ``texts``.

    Args:
        model: a transformers causal language model (or a member of a family, or one of low-rank linears).
        tokenizer: with ``encode`` and ``decode``.
        texts: at least one; each is cut to its first ``length`` tokens. A shorter text is refused, because capacity
            depends on the length of the context and a padded sample would be a mix of several.
        length: tokens per sample, at least 2.
        bias: bits per token added to the gain. The gain grows with the model and so does log2 N; a constant, fitted
            once per text set, makes the models of one series agree. 0 compares models on the plain gain.
        batch_size: samples per forward.

    Raises:
        InputError: no texts, a text that is too short, or a length below 2.
    """
    ids_BT = _samples(tokenizer, texts, length)
    text_bits = [8 * len(_decoded(tokenizer, row)) / (length - 1) for row in ids_BT[:, 1:].tolist()]
    bits = [token_bits(model, batch_BT, vocabulary=len(tokenizer)) for batch_BT in torch.split(ids_BT, batch_size)]
    text_mean, mean = sum(text_bits) / len(text_bits), float(torch.cat(bits).double().mean())
    operations = flops(model, length)
    return Capacity(
        value=(text_mean - mean + bias) / log2(operations),
        gain_bits=text_mean - mean,
        flops=operations,
        tokens=ids_BT.shape[0] * (length - 1),
        bits_per_token=mean,
        text_bits_per_token=text_mean,
    )


def token_bits(model: Any, ids_BT: Tensor, *, vocabulary: int | None = None) -> Tensor:
    """-log2 p(x_i | x_<i) of every token but the first: (B, T - 1), float32, on the CPU.

    ``vocabulary``: the tokenizer's size. Rows of the head beyond it pad a matrix and never stand for text, so they
    take no probability.
    """
    was_training = model.training
    model.eval()
    try:
        device = next(model.parameters()).device
        with torch.inference_mode():
            logits_BTV = model(input_ids=ids_BT.to(device), use_cache=False).logits[:, :-1, :vocabulary]
            nats_BTV = -torch.log_softmax(logits_BTV.float(), dim=-1)
            nats_BT = nats_BTV.gather(-1, ids_BT[:, 1:, None].to(device)).squeeze(-1)
    finally:
        model.train(was_training)
    return (nats_BT / torch.log(torch.tensor(2.0))).cpu()


def flops(model: Any, length: int) -> float:
    """Operations per token of text, two per multiply-add, averaged over the ``length`` tokens of a sample.

    2 * (parameters of the linears that run, LM head included, biases not) + attention over T/2 earlier tokens on
    average: 4 * blocks * T/2 * heads * head width. Vision parts do not run on text. Sliding windows, norms and
    activations are not counted.
    """
    config = model.config.get_text_config(decoder=True)
    weights = sum(_multiplied(module) for _, module in _text_linears(model))
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    attention = 4 * config.num_hidden_layers * (length / 2) * config.num_attention_heads * width
    return float(2 * weights + attention)


def _text_linears(model: Any) -> Iterator[tuple[str, Any]]:
    for name, module in model.named_modules():
        if "vision" not in name and "projector" not in name and isinstance(module, nn.Linear | LowRank | First):
            yield name, module


def _multiplied(linear: nn.Linear | LowRank | First) -> int:
    if isinstance(linear, nn.Linear):
        return linear.weight.numel()
    return linear.rank * (linear.in_features + linear.out_features)


def _samples(tokenizer: Any, texts: Sequence[str], length: int) -> Tensor:
    if length < 2:
        raise InputError(f"length {length} predicts no token; give at least 2.")
    if isinstance(texts, str) or not texts:
        raise InputError(f"{texts!r} is no list of texts; give at least one text.")
    rows = []
    for i, text in enumerate(texts):
        ids = tokenizer.encode(text)[:length]
        if len(ids) < length:
            raise InputError(f"text {i} has {len(ids)} tokens, fewer than length {length}; shorten length or drop it.")
        rows.append(ids)
    return torch.tensor(rows)


def _decoded(tokenizer: Any, ids: list[int]) -> bytes:
    text: str = tokenizer.decode(ids)
    return text.encode()
