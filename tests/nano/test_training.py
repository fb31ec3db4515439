"""The training loop on a tiny network: it learns, and a killed run continues exactly."""

import random
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from aiflow.errors import UsageError
from aiflow.fitting import Recipe, fit
from aiflow.nano import tokenizer as tok
from aiflow.nano.batches import Batch, endless
from aiflow.nano.data import base
from aiflow.nano.loop import backward
from aiflow.nano.model import build, fuse_lora
from aiflow.nano.train import train

TINY = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "intermediate_size": 48,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
}
RECIPE = Recipe(steps=6, lr=3e-3, muon_lr=3e-3, warmup=2, batch_tokens=1024, every=2)


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aiflow.nano.batches.BLOCK", 48)
    torch.set_num_threads(1)


def data(tokenizer: Any, start: int) -> Iterator[Batch]:
    return endless(tokenizer, base.copy, "0 test", 1024, start, prompts=True)


def weights(model: Any) -> dict[str, torch.Tensor]:
    return {n: p.detach().clone() for n, p in model.named_parameters()}


def test_a_killed_run_continues_exactly(tokenizer: Any, tmp_path: Path) -> None:
    whole = build(0, **TINY)
    told: list[int] = []
    fit(
        whole,
        partial(data, tokenizer),
        RECIPE,
        backward,
        stage="whole",
        checkpoint=tmp_path / "whole.pt",
        progress=lambda _s, step, _n, _l: told.append(step),
    )
    part = build(0, **TINY)
    fit(part, partial(data, tokenizer), RECIPE, backward, stage="part", checkpoint=tmp_path / "part.pt", stop=4)
    again = build(1, **TINY)
    state = fit(again, partial(data, tokenizer), RECIPE, backward, stage="part", checkpoint=tmp_path / "part.pt")
    assert told == [2, 4, 6]
    assert state["step"] == 6
    for name, value in weights(whole).items():
        assert torch.equal(value, weights(again)[name]), name


def test_a_few_steps_lower_the_loss(tokenizer: Any, tmp_path: Path) -> None:
    losses: list[float] = []
    fit(
        build(0, **TINY),
        partial(data, tokenizer),
        Recipe(steps=24, lr=5e-3, warmup=2, batch_tokens=512, every=1),
        backward,
        stage="x",
        checkpoint=tmp_path / "x.pt",
        progress=lambda *a: losses.append(a[3]),
    )
    assert losses[-1] < losses[0] - 0.1


def test_batches_hold_every_dialogue_once_in_bounds(tokenizer: Any) -> None:
    from aiflow.nano.batches import block

    batches = block(tokenizer, base.stream, "0 x", 0, 2048, prompts=False)
    assert sum(b.ids.shape[0] for b in batches) == 48
    assert all(b.ids.numel() <= 2048 for b in batches)
    rng = random.Random("0 x 0")
    learned = sum(sum(tok.encode(tokenizer, base.stream(rng))[1]) for _ in range(48))
    assert sum(int((b.weights > 0).sum()) for b in batches) == learned


def test_the_training_attention_equals_the_standard_one() -> None:
    model = build(0, **TINY).eval()
    ids = torch.randint(0, tok.VOCAB, (2, 17))
    with torch.inference_mode():
        ours = model(input_ids=ids).logits
        model.set_attn_implementation("sdpa")
        assert torch.allclose(ours, model(input_ids=ids).logits, atol=1e-4)


def test_the_fused_lora_equals_pefts() -> None:
    from peft import LoraConfig, get_peft_model

    model = get_peft_model(build(0, **TINY), LoraConfig(r=4, lora_alpha=8, target_modules="all-linear"))
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    ids = torch.randint(0, tok.VOCAB, (2, 9))
    with torch.inference_mode():
        plain = model(input_ids=ids).logits
        fuse_lora(model)
        assert torch.allclose(plain, model(input_ids=ids).logits, atol=1e-4)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"only": ["mathematics"]}, "'mathematics' is no model of"),
        ({"scale": 0.0}, "above 0"),
        ({"only": ["math"]}, "there is no base"),
        ({"group": "drafter"}, "there is no family"),
    ],
)
def test_bad_requests_are_user_errors(options: dict[str, Any], says: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=says):
        train(tmp_path, **options)
