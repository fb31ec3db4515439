"""What each setting of the family's feature codec costs and gives on the visual suites: profile.json, and the card.

The profile is what a device's controller chooses from (`collaboration.tofc.control`).
"""

import json
from pathlib import Path
from statistics import fmean
from typing import Any

from aiflow.collaboration.tofc.control import Setting

FILE = "profile.json"


def ship(out: Path, n: int = 40) -> list[dict[str, Any]]:
    """Measures the codec in ``out/family/tofc`` on ``n`` items of each form; writes profile.json and README.md there.

    Returns:
        Of each setting: tokens, level, mean bytes, their 95th percentile, mean score (0..1).
    """
    folder = out / "family" / "tofc"
    rows = measure(out / "family", n)
    (folder / FILE).write_text(json.dumps({"items": n, "settings": rows}, indent=1) + "\n")
    (folder / "README.md").write_text(card(json.loads((folder / "training.json").read_text()), rows, n))
    return rows


def measure(family: Path, n: int) -> list[dict[str, Any]]:
    """Real streams of every setting, answered by the model that the codec was trained with."""
    import numpy as np
    from transformers import AutoTokenizer

    from aiflow.collaboration.familial.family import Family
    from aiflow.collaboration.tofc.files import FOLDER
    from aiflow.collaboration.tofc.model import Compressor
    from aiflow.collaboration.tofc.stream import Coder
    from aiflow.nano.family.exam import Exam, features, through

    model = Compressor.from_pretrained(family / FOLDER, Family.from_pretrained(family, dtype="float32").backbone)
    exam, coder, rows = Exam(AutoTokenizer.from_pretrained(family), n), Coder(model.codec), []
    x = features(model, exam.images)
    for tokens in model.codec.config.tokens:
        for level in range(model.codec.config.levels):
            seen = [through(coder, x_NC, tokens, level) for x_NC in x]
            sizes, marks = [s.nbytes for s in seen], exam.marks(model, seen)
            score = fmean(fmean(values) for values in marks.values())
            row = {"tokens": tokens, "level": level, "bytes": fmean(sizes)}
            rows.append(row | {"bytes_p95": float(np.percentile(sizes, 95)), "score": score})
    return rows


def card(said: dict[str, Any], rows: list[dict[str, Any]], n: int) -> str:
    """The text of the codec's card."""
    versions = ", ".join(f"{k} {v}" for k, v in said["versions"].items())
    lines = "\n".join(
        f"| {r['tokens']} | {r['level']} | {r['bytes']:.0f} | {r['bytes_p95']:.0f} | {100 * r['score']:.1f} |"
        for r in rows
    )
    return f"""---
license: apache-2.0
language: en
---
# aiflow nano/family: feature codec

Sends a picture of 64 x 64 pixels as a few merged and quantised features of the family's vision tower, instead of a
file; with it come the projector and adapters for the family's full model. `Compressor.from_pretrained` reads it.

**Data.** Procedural: rendered scenes with questions and captions (`aiflow.nano.visual`). Nothing else was used.

**Training.** `aiflow train tofc`, seed {said["seed"]}, {said["step"]:,} steps, {said["tokens"]:,} tokens,
{said["seconds"] / 60:.0f} minutes on one CPU thread ({versions}).

**Settings** on the first {n} held-out items of each of nine forms; bytes are whole streams:

| tokens | level | bytes | 95th percentile | mean score, % |
|---|---|---|---|---|
{lines}
"""


def settings(folder: Path) -> list[Setting]:
    """The profile in a codec's folder; empty where there is none (computing times are not in it)."""
    if not (folder / FILE).is_file():
        return []
    rows = json.loads((folder / FILE).read_text())["settings"]
    return [Setting(tokens=r["tokens"], level=r["level"], nbytes=r["bytes_p95"], score=r["score"]) for r in rows]
