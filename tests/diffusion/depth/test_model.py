"""Networks: bounds at the anchor, shapes, sizes; any vision backbone as the encoder."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import (
    CLIPVisionConfig,
    ConvNextConfig,
    Dinov2Config,
    Dinov2Model,
    SwinConfig,
    ViTConfig,
    WhisperConfig,
)

from aiflow.diffusion.depth.backbone import from_backbone
from aiflow.diffusion.depth.baselines import SingleDecoder
from aiflow.diffusion.depth.model import AnchorEmbedding, ConvEncoder, FarDecoder, NearDecoder, parameters
from aiflow.diffusion.depth.pipeline import NearFarDepthPipeline
from aiflow.diffusion.depth.representation import ANCHORS
from aiflow.errors import UnsupportedModelError

IMAGE = np.random.default_rng(0).integers(0, 255, (48, 64, 3), dtype=np.uint8)
CHANNELS, WIDTHS = (8, 16, 16, 16), (8, 8, 8, 8)
TINY: dict[str, Any] = {"hidden_size": 32, "num_hidden_layers": 4, "num_attention_heads": 2, "intermediate_size": 64}


def pipeline_on(encoder: Any) -> NearFarDepthPipeline:
    torch.manual_seed(0)
    near = NearDecoder(channels=CHANNELS, widths=WIDTHS)
    return NearFarDepthPipeline(encoder, near, FarDecoder(channels=CHANNELS, widths=WIDTHS))


def test_branches_stay_on_their_sides_of_the_anchor() -> None:
    torch.manual_seed(0)
    encoder, near, far = ConvEncoder(), NearDecoder(), FarDecoder()
    levels = encoder(5 * torch.randn(4, 3, 48, 64))
    anchor_B = torch.tensor([2.0, 6.7, 25.0, 80.0])
    log_near, logit = near(levels, anchor_B)
    log_far = far(levels, anchor_B)
    assert log_near.shape == logit.shape == log_far.shape == (4, 48, 64)
    edge = torch.log(anchor_B)[:, None, None]
    assert (log_near <= edge + 1e-6).all()
    assert (log_far >= edge - 1e-6).all()


def test_untrained_estimates_slide_with_the_anchor() -> None:
    """Without training already: near a far anchor, and far from a near one, the depth is the same."""
    torch.manual_seed(0)
    encoder, near, far = ConvEncoder(), NearDecoder(), FarDecoder()
    levels = encoder(torch.randn(1, 3, 48, 64))
    a = near(levels, torch.tensor([80.0]))[0].exp()
    b = far(levels, torch.tensor([0.5]))[:].exp()
    assert a.median().item() == pytest.approx(6.0, rel=0.3)
    assert b.median().item() == pytest.approx(6.0, rel=0.3)


def test_anchor_embedding_is_continuous_off_the_pool() -> None:
    embedding = AnchorEmbedding(ANCHORS, 8)
    a, b, member = embedding(torch.tensor([8.0, 8.001, 10.0]))
    assert torch.allclose(a, b, atol=1e-3)
    free = embedding.mlp(torch.log(torch.tensor([[10.0]])) - np.log(10))[0]
    assert torch.allclose(member, free + embedding.embedding.weight[ANCHORS.index(10.0)], atol=1e-6)


def test_baselines_have_the_same_size() -> None:
    ours = parameters(ConvEncoder(), NearDecoder(), FarDecoder())
    for head in ("linear", "log", "bins"):
        assert parameters(ConvEncoder(), SingleDecoder(head=head)) == pytest.approx(ours, rel=0.03)  # type: ignore[arg-type]


@pytest.mark.parametrize("head", ["linear", "log", "bins"])
def test_single_decoders(head: Any) -> None:
    torch.manual_seed(0)
    encoder = ConvEncoder()
    decoder = SingleDecoder(head=head, domains=2, caps=[10.0, 80.0])
    levels = encoder(3 * torch.randn(2, 3, 48, 64))
    depth = decoder(levels, torch.tensor([0, 1])).exp()
    assert depth.shape == (2, 48, 64)
    assert torch.isfinite(depth).all()
    if head == "linear":
        assert depth[0].max() < 10
    if head == "bins":
        assert 0.2 < depth.min() <= depth.max() < 80


CONFIGS = [
    Dinov2Config(**TINY, patch_size=14, image_size=56),
    ViTConfig(**TINY, patch_size=16, image_size=64),
    CLIPVisionConfig(**TINY, patch_size=16, image_size=64),
    SwinConfig(embed_dim=16, depths=[1, 1, 1, 1], num_heads=[2, 2, 2, 2], window_size=4),
    ConvNextConfig(hidden_sizes=[8, 16, 24, 32], depths=[1, 1, 1, 1]),
]


@pytest.mark.parametrize("config", CONFIGS, ids=lambda c: c.model_type)
def test_a_backbone_as_encoder(config: Any, tmp_path: Path) -> None:
    pipeline = pipeline_on(from_backbone(config, channels=CHANNELS, width=128))
    result = pipeline(IMAGE, [5.0, 20.0])
    assert result.depth.shape == (48, 64)
    pipeline.save_pretrained(tmp_path)
    again = NearFarDepthPipeline.from_pretrained(tmp_path)(IMAGE, [5.0, 20.0])
    assert np.array_equal(result.depth, again.depth)
    other = pipeline(np.random.default_rng(1).integers(0, 255, (70, 50, 3), dtype=np.uint8), 5.0)
    assert other.depth.shape == (70, 50)


def test_a_saved_backbone_keeps_weights_and_colours(tmp_path: Path) -> None:
    model = Dinov2Model(Dinov2Config(**TINY, patch_size=14, image_size=56))
    model.save_pretrained(tmp_path)
    said = {"image_processor_type": "BitImageProcessor", "image_mean": [0.1, 0.2, 0.3], "image_std": [0.4, 0.5, 0.6]}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(said))
    encoder = from_backbone(tmp_path, channels=CHANNELS, width=60)
    assert list(encoder.config.mean) == [0.1, 0.2, 0.3]
    assert encoder.config.width == 56
    mine, theirs = encoder.backbone.state_dict(), model.state_dict()
    assert all(torch.equal(mine[name], theirs[name]) for name in theirs if name in mine)
    assert len(set(mine) & set(theirs)) > 20


@pytest.mark.parametrize(
    ("source", "options"),
    [
        (WhisperConfig(), {}),
        ("/nowhere/at/all", {}),
        (CONFIGS[0], {"layers": [1, 2]}),
        (CONFIGS[1], {"layers": [1, 2, 3, 9]}),
        (ViTConfig(**{**TINY, "num_hidden_layers": 2}), {}),
    ],
)
def test_unusable_backbones(source: Any, options: dict[str, Any]) -> None:
    with pytest.raises(UnsupportedModelError):
        from_backbone(source, **options)
