"""Tiny random models of every supported kind."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from aiflow.collaboration.familial.branch import Branch, low_rank_block
from aiflow.collaboration.familial.factor import factor, plain
from aiflow.collaboration.familial.family import Family
from aiflow.collaboration.familial.kinds import LINEARS, get_linear, parts

SIZES = {
    "vocab_size": 50,
    "hidden_size": 32,
    "num_hidden_layers": 4,
    "intermediate_size": 48,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
}
IMAGE = 49


def _model(kind: str, *, tied: bool = False, **changes: Any) -> Any:
    """A random fp64 model; all linears have weights large enough that blocks matter."""
    import transformers as hf

    sizes = {**SIZES, "tie_word_embeddings": tied, **changes}
    classes = {
        "llama": (hf.LlamaConfig, hf.LlamaForCausalLM, {}),
        "qwen2": (hf.Qwen2Config, hf.Qwen2ForCausalLM, {}),
        "qwen3": (hf.Qwen3Config, hf.Qwen3ForCausalLM, {"head_dim": 12}),
        "mistral": (hf.MistralConfig, hf.MistralForCausalLM, {"sliding_window": 6, "head_dim": 8}),
    }
    torch.manual_seed(0)
    if kind == "llava":
        vision = hf.CLIPVisionConfig(
            hidden_size=16,
            intermediate_size=24,
            num_hidden_layers=2,
            num_attention_heads=2,
            image_size=16,
            patch_size=8,
        )
        config = hf.LlavaConfig(
            text_config=hf.LlamaConfig(**sizes),
            vision_config=vision,
            image_token_id=IMAGE,
            image_seq_length=4,
            vision_feature_layer=-1,
            tie_word_embeddings=tied,
        )
        made: Any = hf.LlavaForConditionalGeneration(config)
    else:
        make, cls, more = classes[kind]
        made = cls(make(**sizes, **more))
    with torch.no_grad():
        for p in made.parameters():
            if p.ndim == 2:
                p.mul_(8)
    made.generation_config.eos_token_id = None
    return made.double().eval()


def _family(kind: str, exits: tuple[int, ...] = (1, 2, 3), rank: int = 8, **changes: Any) -> Family:
    """A family whose branches are the next blocks by plain SVD."""
    backbone = _model(kind, **changes)
    made = Family(backbone)
    for exit_ in exits:
        block = parts(backbone).text.layers[exit_]
        weights = {name: get_linear(block, name).weight.detach() for name in LINEARS}
        factors = {name: factor(w, plain(w.shape[1])) for name, w in weights.items()}
        made.add(exit_, Branch([low_rank_block(block, factors, dict.fromkeys(LINEARS, rank), exit_)]))
    return made.eval()


@pytest.fixture(scope="session")
def model() -> Callable[..., Any]:
    """Makes a random model of a kind."""
    return _model


@pytest.fixture(scope="session")
def family() -> Callable[..., Family]:
    """Makes a family of a kind."""
    return _family


@pytest.fixture
def ids() -> torch.Tensor:
    """Two rows of token ids."""
    return torch.randint(0, 48, (2, 12), generator=torch.Generator().manual_seed(1))
