"""Tiny random networks with statistics of real data, for tests of pipeline and parties."""

from typing import Any

import torch

from aiflow.diffusion.motion import data, sampling, scene
from aiflow.diffusion.motion.model import Coordinator, MotionTransformer
from aiflow.diffusion.motion.pipeline import InterleavedMotionPipeline
from aiflow.diffusion.words import WordEncoder, word_tokenizer

PROMPT = "person one claps while person two squats then they shake right hands"
SEGMENTS = [("solo", 0), ("interaction", 10)]


def pipeline(mutual: bool = False, composer: str = "") -> InterleavedMotionPipeline:
    """INS and REC that do something to every feature."""
    torch.manual_seed(0)
    mean, std = data.statistics([data.pack(data.pairs(8))])
    ins = MotionTransformer(width=32, layers=2, heads=2, text=16)
    rec = Coordinator(width=32, layers=1, heads=2, text=16, mutual=mutual, composer=composer)
    for net in (ins, rec):
        net.set_statistics(mean, std)
        shake(net)
    words = word_tokenizer(scene.vocabulary(), data.WORDS)
    text = WordEncoder(len(words), 16, 1, 2).eval()
    made = InterleavedMotionPipeline(ins.eval(), rec.eval(), text, words, sampling.ddim())
    made.set_progress_bar_config(disable=True)
    return made


def shake(net: Any) -> None:
    """Makes what begins at zero do something."""
    with torch.no_grad():
        for parameter in net.parameters():
            if not parameter.any():
                parameter.normal_(std=0.05)
