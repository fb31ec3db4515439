"""What a trained codec costs and gives, in each of its settings: real bytes, and the loss on sample dialogues."""

import json
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from aiflow.collaboration.tofc.batches import Batch, Row
    from aiflow.collaboration.tofc.model import Compressor

COLD = 1e-6
"""The router's temperature at which it has chosen, as in a stream."""
ALL = 1 << 30


def plain_loss(model: "Compressor", batches: Sequence["Batch"]) -> float:
    """Nats per token of the model with all features of each image, neither merged nor quantised."""
    return _loss(model, batches, ALL, None)


def settings(model: "Compressor", batches: Sequence["Batch"]) -> list[dict[str, Any]]:
    """Of each setting: tokens, level, mean bytes of an image's message, nats per token."""
    from aiflow.collaboration.tofc.encoder import Encoder

    encoder, config = Encoder(model.backbone, model.codec), model.codec.config
    rows: list[Row] = [row for batch in batches for row in batch.rows]
    found = []
    for tokens in config.tokens:
        for level in range(config.levels):
            nbytes = fmean(len(encoder.encode(row.inputs, tokens, level)) for row in rows)
            loss = _loss(model, batches, tokens, level)
            found.append({"tokens": tokens, "level": level, "bytes": nbytes, "loss": loss})
    return found


def _loss(model: "Compressor", batches: Sequence["Batch"], tokens: int, level: int | None) -> float:
    import torch

    from aiflow.collaboration.tofc.training import losses

    with torch.no_grad():
        found = [
            (losses(model, batch, tokens=tokens, level=level, temperature=COLD), _weight(batch)) for batch in batches
        ]
    return sum(loss.distortion.item() * n for loss, n in found) / sum(n for _, n in found)


def _weight(batch: "Batch") -> float:
    return sum(sum(row.weights) for row in batch.rows)


def write(out: Path, said: dict[str, Any]) -> None:
    """Writes training.json and the card."""
    (out / "training.json").write_text(json.dumps(said, indent=1) + "\n")
    (out / "README.md").write_text(_card(said))


def _card(said: dict[str, Any]) -> str:
    versions = ", ".join(f"{k} {v}" for k, v in said["versions"].items())
    lines = "\n".join(
        f"| {r['tokens']} | {r['level']} | {r['bytes']:.0f} | {r['loss']:.4f} |" for r in said["settings"]
    )
    return f"""# Feature codec for {said["model"]}

Sends an image as a few merged and quantised features of the model's vision encoder, instead of a file; with it come the
projector and adapters for the model. Source: AI Flow, section II-B1.

    aiflow tofc encode {said["model"]} THIS_FOLDER photo.jpg -o photo.tofc
    aiflow tofc answer {said["model"]} THIS_FOLDER photo.tofc "What is shown here?"

**Training.** `aiflow tofc train`, seed {said["seed"]}, {said["step"]:,} steps on {said["dialogues"]:,} dialogues,
{said["tokens"]:,} tokens, {said["seconds"] / 60:.0f} minutes ({versions}).

**Settings**, on {said["measured"]} of the dialogues it was trained on; bytes are whole messages. The model as it was,
with all features of each image, has a loss of {said["plain_loss"]:.4f} nats per token there.

| tokens | level | bytes | nats per token |
|---|---|---|---|
{lines}
"""
