"""Trained stages as the folder that ships: a pipeline and its evaluator in float16. Knows no training."""

import json
from pathlib import Path
from typing import Any

import torch

from aiflow.diffusion.files import fingerprint
from aiflow.diffusion.motion import sampling
from aiflow.diffusion.motion.evaluator import MotionEvaluator
from aiflow.diffusion.motion.model import Coordinator, MotionTransformer
from aiflow.diffusion.motion.pipeline import InterleavedMotionPipeline
from aiflow.diffusion.words import WordEncoder
from aiflow.errors import UsageError

LIMIT = 8 * 1024 * 1024
CARD = """# Two-person motion: INS -> REC

Trained by `aiflow train motion` on procedural data only (`aiflow.diffusion.motion.data`), seed {seed}. INS composes
each person from text and segments, REC coordinates the two. `evaluator` embeds motions and captions for the metrics.

| part | parameters | fingerprint |
|---|---|---|
{rows}

Clips of 16 to 48 frames at 10 a second, 262 numbers a person and frame (the InterHuman form), float16 files.
"""


def ship(trained: Path, weights: Path, words: Any) -> None:
    """Writes the pipeline of the stages ins, rec and evaluator in ``trained`` to ``weights``. Raises UsageError."""
    for stage in ("ins", "rec", "evaluator"):
        if not (trained / stage / "training.json").is_file():
            raise UsageError(f"{trained} has no finished stage {stage!r}; run `aiflow train motion` first.")
    ins = MotionTransformer.from_pretrained(trained / "ins" / "net").half()
    text = WordEncoder.from_pretrained(trained / "ins" / "text_encoder").half()
    rec = Coordinator.from_pretrained(trained / "rec" / "net").half()
    judge = MotionEvaluator.from_pretrained(trained / "evaluator" / "net").half()
    rec.register_to_config(composer=fingerprint(ins, text))
    InterleavedMotionPipeline(ins, rec, text, words, sampling.ddim()).save_pretrained(weights)
    judge.save_pretrained(weights / "evaluator")
    parts = {"ins": ins, "text_encoder": text, "rec": rec, "evaluator": judge}
    rows = [f"| {name} | {_size(net):,} | `{fingerprint(net)}` |" for name, net in parts.items()]
    seed = json.loads((trained / "ins" / "training.json").read_text())["seed"]
    (weights / "README.md").write_text(CARD.format(seed=seed, rows="\n".join(rows)))
    for path in weights.rglob("*"):
        if path.is_file():
            path.chmod(0o644)
    total = sum(path.stat().st_size for path in weights.rglob("*") if path.is_file())
    if total > LIMIT:
        raise UsageError(f"{weights} has {total:,} bytes, at most {LIMIT:,} may ship.")


def _size(net: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in net.parameters())
