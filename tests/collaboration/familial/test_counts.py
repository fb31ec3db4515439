"""Counts against published figures (facts 29, 30, 32) and against transformers' own models, to the parameter."""

from typing import Any

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    CLIPVisionConfig,
    GPT2Config,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    MistralConfig,
    Qwen2Config,
    Qwen3Config,
    SiglipVisionConfig,
)

from aiflow.collaboration.familial import counts
from aiflow.errors import InputError, UnsupportedModelError

SMALL: dict[str, Any] = {
    "hidden_size": 48,
    "intermediate_size": 80,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 100,
}
CLIP = {"hidden_size": 32, "intermediate_size": 56, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 28}


def llava_7b() -> Any:
    vision = CLIPVisionConfig(
        hidden_size=1024,
        intermediate_size=4096,
        num_hidden_layers=24,
        num_attention_heads=16,
        image_size=336,
        patch_size=14,
    )
    return LlavaConfig(vision_config=vision, text_config=LlamaConfig(vocab_size=32000))


def qwen_7b() -> Any:
    return Qwen2Config(
        hidden_size=3584,
        intermediate_size=18944,
        num_hidden_layers=28,
        num_attention_heads=28,
        num_key_value_heads=4,
        vocab_size=152064,
    )


def small_llava(**options: Any) -> Any:
    vision = CLIPVisionConfig(**CLIP, patch_size=7)
    return LlavaConfig(vision_config=vision, text_config=Qwen2Config(**SMALL), **options)


CONFIGS = {
    "llama": LlamaConfig(**SMALL),
    "llama-tied": LlamaConfig(**SMALL, tie_word_embeddings=True),
    "llama-biases": LlamaConfig(**SMALL, attention_bias=True, mlp_bias=True),
    "llama-head_dim": LlamaConfig(**SMALL, head_dim=20),
    "qwen2": Qwen2Config(**SMALL),
    "qwen2-tied": Qwen2Config(**SMALL, tie_word_embeddings=True),
    "qwen3": Qwen3Config(**SMALL, head_dim=16),
    "qwen3-biases": Qwen3Config(**SMALL, head_dim=16, attention_bias=True),
    "mistral": MistralConfig(**SMALL, head_dim=12),
    "llava": small_llava(),
    "llava-tied": small_llava(tie_word_embeddings=True),
    "llava-levels": small_llava(vision_feature_layer=[-2, -1], multimodal_projector_bias=False),
    "llava-7b": llava_7b(),
    "qwen2.5-7b": qwen_7b(),
}


@pytest.mark.parametrize("name", CONFIGS)
def test_the_counts_are_those_of_the_model_itself(name: str) -> None:
    config = CONFIGS[name]
    with torch.device("meta"):
        if config.model_type == "llava":
            model = LlavaForConditionalGeneration(config)
            layers = model.model.language_model.layers
        else:
            model = AutoModelForCausalLM.from_config(config)
            layers = model.model.layers
    first = layers[0]
    everything = sum(p.numel() for p in model.parameters())
    assert counts.total(config) == everything
    assert counts.block(config) == sum(p.numel() for p in first.parameters())
    assert counts.fixed(config) == everything - len(layers) * counts.block(config)
    for linear, shape in counts.shapes(config).items():
        assert tuple(first.get_submodule(linear).weight.shape) == shape
    assert counts.norms(config) == sum(p.numel() for p in first.parameters() if p.ndim == 1)


def test_published_totals() -> None:
    llava, qwen = llava_7b(), qwen_7b()
    assert counts.total(llava) == 7_062_902_784
    assert counts.block(llava) == 202_383_360
    assert counts.fixed(llava) == 2 * 131_072_000 + 4096 + 303_507_456 + 20_979_712
    assert counts.total(qwen) == 7_615_616_512
    assert counts.block(qwen) == 233_057_792


@pytest.mark.parametrize(
    ("exit", "keep", "published"),
    [
        (10, 0.75, 2.76),
        (12, 0.75, 3.17),
        (17, 0.75, 4.18),
        (18, 0.75, 4.38),
        (17, None, 4.03),
        (19, None, 4.43),
        (20, None, 4.63),
        (24, None, 5.44),
    ],
)
def test_the_eight_published_sizes(exit: int, keep: float | None, published: float) -> None:
    assert abs(counts.member(llava_7b(), exit, keep) / 1e9 - published) <= 0.005


def test_a_branch_by_keep_is_the_branch_of_its_ranks() -> None:
    config = llava_7b()
    ranks = {name: 1536 if m == n else 2238 for name, (m, n) in counts.shapes(config).items()}
    assert counts.branch(config, 0.75) == counts.branch(config, ranks=ranks)
    assert counts.member(config, 10, 0) == counts.member(config, 10)
    ranks["mlp.up_proj"] += 1
    assert counts.branch(config, ranks=ranks) - counts.branch(config, 0.75) == 11008 + 4096


def test_ruyi_names_its_sizes_without_embeddings() -> None:
    config = qwen_7b()
    sizes = [round(counts.non_embedding(config, e) / 1e9, 3) for e in (12, 16, 20, 24, 28)]
    assert sizes == [2.797, 3.729, 4.661, 5.593, 6.526]
    whole = [round(counts.member(config, e) / 1e9, 2) for e in (12, 16, 20, 24, 28)]
    assert whole == [3.89, 4.82, 5.75, 6.68, 7.62]


def test_hpcd_sizes_of_telechat2() -> None:
    config = LlamaConfig(hidden_size=4096, intermediate_size=12288, num_hidden_layers=30, vocab_size=131072)
    sizes = []
    for components in (1, 2, 3, 4):
        ranks = {name: components * (409 if m == n else 614) for name, (m, n) in counts.shapes(config).items()}
        sizes.append(round((counts.fixed(config) + 30 * counts.branch(config, ranks=ranks)) / 1e9, 3))
    assert sizes == [2.381, 3.689, 4.996, 6.304]


@pytest.mark.parametrize("config", [llava_7b(), qwen_7b(), CONFIGS["llama"]], ids=["llava", "qwen", "small"])
def test_main_model_and_all_branches_are_less_than_two_main_models(config: Any) -> None:
    assert counts.branch(config, 1.0) <= counts.block(config)
    layers = counts.depth(config)
    assert counts.total(config) + (layers - 1) * counts.branch(config, 1.0) < 2 * counts.total(config)


def test_bad_arguments_name_the_value_and_the_remedy() -> None:
    config = CONFIGS["llama"]
    ranks = dict.fromkeys(counts.shapes(config), 4)
    with pytest.raises(InputError, match=r"exit 4 is not in 1\.\.3"):
        counts.member(config, 4)
    with pytest.raises(InputError, match="has no branch"):
        counts.member(config, 3, 0.5)
    with pytest.raises(InputError, match="exactly one"):
        counts.branch(config)
    with pytest.raises(InputError, match=r"rank 49 of mlp\.up_proj is not in 1\.\.48"):
        counts.branch(config, ranks=ranks | {"mlp.up_proj": 49})
    with pytest.raises(InputError, match="lm_head"):
        counts.branch(config, ranks=ranks | {"lm_head": 4})
    with pytest.raises(UnsupportedModelError, match="gpt2"):
        counts.total(GPT2Config())
    with pytest.raises(UnsupportedModelError, match="siglip"):
        counts.total(LlavaConfig(vision_config=SiglipVisionConfig(), text_config=LlamaConfig(**SMALL)))
