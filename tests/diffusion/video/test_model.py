"""The widened CogVideoX: it begins as the original, and its parts add up to the whole."""

from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import CogVideoXTransformer3DModel

from aiflow.diffusion.video.data import MODALITIES
from aiflow.diffusion.video.model import CONDITION, GENERATE, IDLE, OmniTransformer3D, from_cogvideox, tiny
from aiflow.errors import InputError, UnsupportedModelError

from .conftest import opened

KINDS: list[dict[str, Any]] = [
    {"patch_size": 2},
    {"patch_size": 2, "use_rotary_positional_embeddings": True},
    {"patch_size": 2, "patch_size_t": 2, "use_rotary_positional_embeddings": True},
]


def base(**options: Any) -> CogVideoXTransformer3DModel:
    torch.manual_seed(0)
    small = {"num_attention_heads": 2, "attention_head_dim": 16, "in_channels": 4, "out_channels": 4}
    grid = {"sample_width": 8, "sample_height": 8, "sample_frames": 13, "max_text_seq_length": 6}
    return CogVideoXTransformer3DModel(
        **small, **grid, time_embed_dim=8, text_embed_dim=12, num_layers=2, **options
    ).eval()


def inputs(modalities: int = 4, channels: int = 4, frames: int = 4) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    rng = torch.Generator().manual_seed(1)
    x = torch.randn(2, frames, modalities * channels, 8, 8, generator=rng)
    return x, torch.randn(2, 6, 12, generator=rng), torch.tensor([5, 500])


@pytest.mark.parametrize("options", KINDS)
@torch.no_grad()
def test_widened_it_makes_what_the_original_makes(options: dict[str, Any]) -> None:
    original = base(**options)
    wide = from_cogvideox(original, MODALITIES)
    torch.nn.init.zeros_(wide.role_embedding.weight)
    x, text, t = inputs()
    made = wide(x, text, t, torch.zeros(2, 4, dtype=torch.long)).sample
    rotary = wide._rotary((4, 4, 8, 8), x.device) if options.get("use_rotary_positional_embeddings") else None
    expected = original(x[:, :, :4], text, t, image_rotary_emb=rotary).sample
    for m in range(4):  # every head begins as the original's
        assert torch.allclose(made[:, :, 4 * m : 4 * m + 4], expected, atol=1e-6)
    torch.nn.init.normal_(wide.trunk.patch_embed.proj.weight[:, -1])  # and the new columns do count
    assert not torch.allclose(
        wide(x, text, t, torch.zeros(2, 4, dtype=torch.long)).sample[:, :, :4], expected, atol=1e-3
    )


@torch.no_grad()
def test_odd_frames_are_padded_in_front() -> None:
    wide = from_cogvideox(base(**KINDS[2]), ("rgb", "depth"))
    x, text, t = inputs(modalities=2, frames=3)
    roles = torch.zeros(2, 2, dtype=torch.long)
    padded = torch.cat([x[:, :1], x], dim=1)
    assert torch.equal(wide(x, text, t, roles).sample, wide(padded, text, t, roles).sample[:, :3])


def test_the_real_model_grows_by_11_8_million() -> None:
    config = {"num_attention_heads": 48, "num_layers": 42, "patch_size": 2, "patch_size_t": 2}
    with torch.device("meta"):  # 5.6 billion parameters, no memory
        original = CogVideoXTransformer3DModel(**config, use_rotary_positional_embeddings=True, patch_bias=False)
    wide = from_cogvideox(original)
    grown = sum(p.numel() for p in wide.parameters()) - sum(p.numel() for p in original.parameters())
    heads = 3 * (3072 * 128 + 128 + 512 * 6144 + 6144 + 6144)  # the last: scale and shift of the norm in a head
    assert grown == heads + 384 * 3072 + 3 * 16
    assert round(grown / 1e6, 1) == 11.8


@pytest.mark.parametrize("options", KINDS)
@torch.no_grad()
def test_parts_of_the_modalities_add_up(options: dict[str, Any]) -> None:
    """What lets each node project its own latents: the sum of the parts is the patch embedding of all."""
    wide = from_cogvideox(base(**options), MODALITIES)
    torch.nn.init.normal_(wide.trunk.patch_embed.proj.weight, std=0.1)
    torch.nn.init.normal_(wide.role_embedding.weight)
    x, text, t = inputs()
    roles = torch.tensor([[GENERATE, CONDITION, IDLE, GENERATE], [CONDITION, IDLE, IDLE, GENERATE]])
    whole = wide(x, text, t, roles).sample
    parts = [wide.project(n, x[:, :, 4 * m : 4 * m + 4], roles[:, m]) for m, n in enumerate(MODALITIES)]
    out = wide.finish(wide.gather(parts, text, (4, 4, 8, 8)), t, text.shape[1], (4, 4, 8, 8))
    assert (torch.cat([out[n] for n in MODALITIES], dim=2) - whole).abs().max() < 1e-5


@torch.no_grad()
def test_roles() -> None:
    torch.manual_seed(0)
    model = opened(tiny(MODALITIES, width=64, layers=1)).eval()
    x, text, t = torch.randn(1, 4, 64, 4, 4), torch.randn(1, 10, 64), torch.tensor([500])

    def made(*roles: int) -> torch.Tensor:
        return model(x, text, t, torch.tensor([roles])).sample[:, :, :16]

    assert not torch.allclose(made(0, 0, 0, 0), made(0, 1, 0, 0), atol=1e-5)
    with_idle = made(0, 2, 0, 0)
    x[:, :, 16:32] = 7.0  # what an idle modality holds is of no account
    assert torch.equal(with_idle, made(0, 2, 0, 0))
    assert not torch.allclose(made(0, 0, 0, 0), with_idle, atol=1e-5)


@torch.no_grad()
def test_a_model_without_some_heads(tmp_path: Path) -> None:
    model = tiny(("rgb", "depth"), ("rgb",), width=64, layers=1)
    assert set(model.heads) == {"rgb"}
    opened(model).save_pretrained(tmp_path)
    again = OmniTransformer3D.from_pretrained(tmp_path)
    x, text, t, roles = torch.randn(1, 4, 32, 4, 4), torch.randn(1, 10, 64), torch.tensor([5]), torch.tensor([[0, 1]])
    out = again(x, text, t, roles).sample
    assert torch.equal(out, model.eval()(x, text, t, roles).sample)
    assert not out[:, :, 16:].any()


def test_widened_it_is_saved_and_loaded(tmp_path: Path) -> None:
    wide = from_cogvideox(base(**KINDS[2]))
    wide.save_pretrained(tmp_path)
    again = OmniTransformer3D.from_pretrained(tmp_path)
    assert all(torch.equal(a, b) for a, b in zip(wide.state_dict().values(), again.state_dict().values(), strict=True))


def test_what_cannot_be() -> None:
    with pytest.raises(UnsupportedModelError, match="image-to-video"):
        from_cogvideox(CogVideoXTransformer3DModel(2, 16, 8, 4, text_embed_dim=8, num_layers=1))
    with pytest.raises(InputError, match="different names"):
        from_cogvideox(base(**KINDS[0]), ("rgb", "rgb"))
    model = tiny(("rgb", "depth"), width=64, layers=1)
    with pytest.raises(InputError, match="2 x 16"):
        model(torch.zeros(1, 4, 16, 4, 4), torch.zeros(1, 10, 64), torch.tensor([5]), torch.tensor([[0, 0]]))
    with pytest.raises(InputError, match="thermal"):
        model.project("thermal", torch.zeros(1, 4, 16, 4, 4), torch.tensor([0]))
