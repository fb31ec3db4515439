"""Information capacity by hand on small random models, and what a tokenizer and a smaller member change."""

from collections.abc import Sequence
from math import log, log2
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, LlamaConfig

from aiflow.collaboration.familial.capacity import capacity, flops, token_bits
from aiflow.collaboration.familial.kinds import LINEARS, get_linear, set_linear
from aiflow.collaboration.familial.linear import LowRank
from aiflow.errors import InputError

D, FFN, V, LAYERS, HEADS = 32, 48, 40, 2, 4


def tiny() -> Any:
    torch.manual_seed(0)
    config = LlamaConfig(
        hidden_size=D, intermediate_size=FFN, num_hidden_layers=LAYERS, num_attention_heads=HEADS, vocab_size=V
    )
    model = AutoModelForCausalLM.from_config(config)
    for p in model.parameters():
        torch.nn.init.normal_(p, std=0.3)
    return model


class Letters:
    """A tokenizer of ``width`` letters per token: a run of letters has the id of its first one."""

    def __init__(self, width: int = 1, size: int = 30) -> None:
        self.width, self.size = width, size

    def __len__(self) -> int:
        return self.size

    def encode(self, text: str) -> list[int]:
        return [ord(c) - ord("a") for c in text[:: self.width]]

    def decode(self, ids: Sequence[int]) -> str:
        return "".join(chr(i + ord("a")) * self.width for i in ids)


class Accents(Letters):
    """One letter of two bytes per token."""

    def decode(self, ids: Sequence[int]) -> str:
        return "é" * len(ids)


TEXTS = ["abcdefghijklmnop", "ponmlkjihgfedcba", "aabbccddeeffgghh"]


@torch.no_grad()
def by_hand(model: Any, ids: list[int], vocabulary: int) -> list[float]:
    """Bits of each token but the first, one prefix at a time."""
    bits = []
    for i in range(1, len(ids)):
        logits = model(input_ids=torch.tensor([ids[:i]])).logits[0, -1, :vocabulary].double()
        bits.append(-float(torch.log_softmax(logits, -1)[ids[i]]) / log(2))
    return bits


def test_bits_are_those_of_each_prefix() -> None:
    model = tiny()
    ids = Letters().encode(TEXTS[0])
    for vocabulary in (V, 30):
        found = token_bits(model, torch.tensor([ids]), vocabulary=vocabulary)[0].tolist()
        assert found == pytest.approx(by_hand(model, ids, vocabulary), abs=1e-4)
    assert model.training  # as it was


def test_capacity_by_hand() -> None:
    model, length = tiny(), 8
    bits = [b for text in TEXTS for b in by_hand(model, Letters().encode(text)[:length], 30)]
    linears = LAYERS * (4 * D * D + 3 * D * FFN) + V * D
    operations = 2 * linears + 4 * LAYERS * (length / 2) * D
    assert flops(model, length) == operations
    found = capacity(model, Letters(), TEXTS, length, batch_size=2)
    assert found.tokens == len(bits) == 21
    assert found.text_bits_per_token == 8
    assert found.bits_per_token == pytest.approx(sum(bits) / 21, abs=1e-5)
    assert found.value == pytest.approx((8 - sum(bits) / 21) / log2(operations), abs=1e-6)
    biased = capacity(model, Letters(), TEXTS, length, bias=-24)
    assert biased.value == pytest.approx(found.value - 24 / log2(operations))
    assert biased.gain_bits == pytest.approx(found.gain_bits)


def test_text_is_measured_in_bytes() -> None:
    assert capacity(tiny(), Accents(), TEXTS, 8).text_bits_per_token == 16


def test_half_the_tokens_for_the_same_text_is_more_capacity() -> None:
    model, text = tiny(), "".join(2 * c for c in "abcdefgh")
    one = capacity(model, Letters(1), ["abcdefgh"], 8)
    two = capacity(model, Letters(2), [text], 8)
    assert two.bits_per_token == one.bits_per_token
    assert two.text_bits_per_token == 2 * one.text_bits_per_token
    assert two.value == pytest.approx(one.value + 8 / log2(one.flops))


def test_operations_of_a_low_rank_model_and_of_its_first_components() -> None:
    model, rank, length = tiny(), 6, 10
    shapes = [tuple(get_linear(model.model.layers[0], name).weight.shape) for name in LINEARS]
    dense = flops(model, length)
    for part in (False, True):
        for block in model.model.layers:
            for name, (m, n) in zip(LINEARS, shapes, strict=True):
                whole = LowRank(torch.randn(rank + 3 * part, m) * 0.1, torch.randn(rank + 3 * part, n) * 0.1)
                set_linear(block, name, whole.first(rank) if part else whole)
        saved = LAYERS * sum(m * n - rank * (m + n) for m, n in shapes)
        assert flops(model, length) == dense - 2 * saved
        assert capacity(model, Letters(), TEXTS, 8).flops == flops(model, 8)


def test_vision_parts_do_not_run_on_text() -> None:
    model = tiny()
    before = flops(model, 8)
    model.vision_tower = torch.nn.Linear(64, 64)
    model.multi_modal_projector = torch.nn.Sequential(torch.nn.Linear(64, 32))
    assert flops(model, 8) == before


def test_a_perfect_guesser_gains_all_bits() -> None:
    class Oracle(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.real = tiny()
            self.config = self.real.config

        def forward(self, input_ids: torch.Tensor, use_cache: bool) -> Any:
            assert not use_cache
            following = torch.roll(input_ids, -1, dims=1)
            return SimpleNamespace(logits=torch.nn.functional.one_hot(following, V).float() * 100)

    assert capacity(Oracle(), Letters(), TEXTS, 8).gain_bits == pytest.approx(8, abs=1e-5)


def test_bad_arguments() -> None:
    model = tiny()
    with pytest.raises(InputError, match="text 1 has 3 tokens, fewer than length 8"):
        capacity(model, Letters(), [TEXTS[0], "abc"], 8)
    with pytest.raises(InputError, match="length 1 predicts no token"):
        capacity(model, Letters(), TEXTS, 1)
    for nothing in ([], TEXTS[0]):
        with pytest.raises(InputError, match="no list of texts"):
            capacity(model, Letters(), nothing, 8)
