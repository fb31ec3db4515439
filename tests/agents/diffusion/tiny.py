"""Random pipelines of all three systems, as small as they can be, saved to a folder: for exactness, not for quality."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

PROMPT = "person one waves while person two stands then they shake hands"
SCENE = "a red circle moving left on a dark background"
CLIPS = ("rgb", "depth", "segment", "edges")


def motion(path: Path) -> Path:
    """Saves a random INS and REC with some words."""
    from aiflow.diffusion.motion.model import Coordinator, MotionTransformer
    from aiflow.diffusion.motion.pipeline import InterleavedMotionPipeline
    from aiflow.diffusion.motion.sampling import ddim
    from aiflow.diffusion.motion.scene import vocabulary
    from aiflow.diffusion.words import WordEncoder, word_tokenizer

    torch.manual_seed(0)
    tokenizer = word_tokenizer(vocabulary(), 16)
    size: dict[str, Any] = {"width": 32, "layers": 1, "heads": 2, "text": 16}
    text = WordEncoder(len(tokenizer), 16, layers=1, heads=2)
    parts = [shaken(MotionTransformer(**size)), shaken(Coordinator(**size)), text]
    InterleavedMotionPipeline(*parts, tokenizer, ddim()).save_pretrained(path)
    return path


def depth(path: Path) -> Path:
    """Saves a random encoder with its decoders."""
    from aiflow.diffusion.depth.model import ConvEncoder, FarDecoder, NearDecoder
    from aiflow.diffusion.depth.pipeline import NearFarDepthPipeline

    torch.manual_seed(0)
    few = (8, 8, 16, 16)
    parts = ConvEncoder(channels=few), shaken(NearDecoder(channels=few)), shaken(FarDecoder(channels=few))
    NearFarDepthPipeline(*parts).save_pretrained(path)
    return path


def video(path: Path) -> Path:
    """Saves a random transformer of four modalities with autoencoder and words."""
    from aiflow.diffusion.video.autoencoder import TinyVideoAutoencoder
    from aiflow.diffusion.video.data import WORDS
    from aiflow.diffusion.video.model import TEXT_TOKENS, tiny
    from aiflow.diffusion.video.pipeline import OmniVideoPipeline
    from aiflow.diffusion.video.sampling import default_scheduler
    from aiflow.diffusion.words import WordEncoder, word_tokenizer

    torch.manual_seed(0)
    tokenizer = word_tokenizer(WORDS, TEXT_TOKENS)
    transformer = shaken(tiny(CLIPS, width=32, layers=1, text=16))
    text = WordEncoder(len(tokenizer), 16, layers=1, heads=2)
    vae = TinyVideoAutoencoder(width=8)
    OmniVideoPipeline(transformer, vae, text, tokenizer, default_scheduler()).save_pretrained(path)
    return path


def shaken(module: Any) -> Any:
    """Gives parameters that begin at zero something to say."""
    with torch.no_grad():
        for parameter in module.parameters():
            if not parameter.any():
                nn.init.normal_(parameter, std=0.05)
    return module.eval()


def image(seed: int = 0) -> NDArray[np.uint8]:
    """(48, 64, 3) uint8."""
    return np.random.default_rng(seed).integers(0, 256, (48, 64, 3), dtype=np.uint8)


def clip(seed: int = 0, frames: int = 8) -> NDArray[np.float32]:
    """(frames, 3, 16, 16) in [-1, 1]."""
    return np.random.default_rng(seed).uniform(-1, 1, (frames, 3, 16, 16)).astype(np.float32)
