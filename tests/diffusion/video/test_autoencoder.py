"""The autoencoder: principal components, normalised latents, the interface of AutoencoderKLCogVideoX."""

from pathlib import Path

import pytest
import torch

from aiflow.diffusion.video.autoencoder import TinyVideoAutoencoder
from aiflow.diffusion.video.data import MODALITIES, generate
from aiflow.errors import InputError


@pytest.fixture(scope="module")
def views() -> torch.Tensor:
    clips = generate("train", 40)
    return torch.cat([torch.from_numpy(clips.views[name]) for name in MODALITIES]).transpose(1, 2)


@torch.no_grad()
def through(model: TinyVideoAutoencoder, x: torch.Tensor) -> torch.Tensor:
    return model.decode(model.encode(x).latent_dist.mode()).sample


def test_it_begins_as_principal_components(views: torch.Tensor) -> None:
    torch.manual_seed(0)
    model = TinyVideoAutoencoder(width=8)
    before = float(((through(model, views) - views) ** 2).mean())
    model.begin(views)
    pca = float(((through(model, views) - views) ** 2).mean())
    assert pca < 0.06 < before
    more = TinyVideoAutoencoder(width=8, latent_channels=32)
    more.begin(views)
    assert float(((through(more, views) - views) ** 2).mean()) < pca


def test_normalising_changes_latents_not_clips(views: torch.Tensor) -> None:
    model = TinyVideoAutoencoder(width=8)
    model.begin(views)
    before = through(model, views)
    model.normalise(views)
    with torch.no_grad():
        z = model.encode(views).latent_dist.mode()
    assert z.shape == (160, 16, 4, 4, 4)
    assert torch.allclose(z.std((0, 2, 3, 4)), torch.ones(16), atol=1e-3)
    assert torch.allclose(z.mean((0, 2, 3, 4)), torch.zeros(16), atol=1e-3)
    assert torch.allclose(through(model, views), before, atol=1e-4)


def test_saved_and_loaded_it_is_the_same(views: torch.Tensor, tmp_path: Path) -> None:
    model = TinyVideoAutoencoder(width=8)
    model.begin(views)
    model.normalise(views)
    model.save_pretrained(tmp_path)
    again = TinyVideoAutoencoder.from_pretrained(tmp_path)
    assert torch.equal(through(model, views[:4]), through(again, views[:4]))
    assert again.config.scaling_factor == 1.0


@pytest.mark.parametrize("shape", [(1, 3, 7, 16, 16), (1, 3, 8, 15, 16), (3, 8, 16, 16)])
def test_clips_that_are_no_whole_patches(shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match="cannot be coded"):
        TinyVideoAutoencoder(width=8).encode(torch.zeros(shape))
