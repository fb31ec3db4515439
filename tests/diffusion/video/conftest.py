"""A random pipeline in evaluation mode (its gates open, so that everything has an effect), and two clips."""

import pytest
import torch
from torch import nn

from aiflow.diffusion.video.autoencoder import TinyVideoAutoencoder
from aiflow.diffusion.video.data import MODALITIES, WORDS, Clips, generate
from aiflow.diffusion.video.model import TEXT_TOKENS, OmniTransformer3D, tiny
from aiflow.diffusion.video.pipeline import OmniVideoPipeline
from aiflow.diffusion.video.sampling import default_scheduler
from aiflow.diffusion.words import WordEncoder, word_tokenizer


def opened(model: OmniTransformer3D) -> OmniTransformer3D:
    """The same model with its zero-begun layers filled."""
    for parameter in model.parameters():
        if not parameter.abs().sum():
            nn.init.normal_(parameter, std=0.02)
    return model


def make(seed: int = 0, modalities: tuple[str, ...] = MODALITIES) -> OmniVideoPipeline:
    """A pipeline of random weights."""
    torch.manual_seed(seed)
    tokenizer = word_tokenizer(WORDS, TEXT_TOKENS)
    transformer = opened(tiny(modalities, width=64, layers=2)).eval()
    text = WordEncoder(len(tokenizer), 64, layers=1, heads=2).eval()
    pipe = OmniVideoPipeline(transformer, TinyVideoAutoencoder(width=8).eval(), text, tokenizer, default_scheduler())
    pipe.set_progress_bar_config(disable=True)
    return pipe


@pytest.fixture(scope="module")
def pipe() -> OmniVideoPipeline:
    return make()


@pytest.fixture(scope="module")
def clips() -> Clips:
    return generate("test", 2)
