"""The models that ship: their size, what they promise, whose they are."""

from typing import Any

import numpy as np
import pytest
import torch

from aiflow.diffusion import files
from aiflow.diffusion.motion import data, metrics
from aiflow.diffusion.motion.evaluator import MotionEvaluator
from aiflow.diffusion.motion.party import Composer
from aiflow.diffusion.motion.scene import Clip

SCENES = 32


@pytest.fixture(scope="module")
def shipped() -> Any:
    return files.load("motion")


@pytest.fixture(scope="module")
def clips() -> list[Clip]:
    return data.scenes("validation", SCENES)


@pytest.fixture(scope="module")
def made(shipped: Any, clips: list[Clip]) -> dict[str, torch.Tensor]:
    plans = [list(zip(clip.kinds, clip.starts, strict=True)) for clip in clips]
    asked = ([clip.caption for clip in clips], plans, [clip.frames for clip in clips])
    options = {"num_inference_steps": 10, "output_type": "latent"}
    alone = shipped(*asked, rec_mode=None, generator=torch.Generator().manual_seed(0), **options)
    post = shipped(*asked, rec_mode="post", motions=alone.motions, output_type="latent")
    return {"alone": alone.motions, "post": post.motions}


def checked(motions: torch.Tensor, clips: list[Clip]) -> dict[str, float]:
    joints = [motions[i, :, : c.frames, :66].reshape(2, c.frames, 22, 3).numpy() for i, c in enumerate(clips)]
    return metrics.checks(joints, [c.touches for c in clips], [c.starts for c in clips]).means()


def test_size_and_origin(shipped: Any) -> None:
    folder = files.folder("motion")
    assert sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) <= 8 * 1024 * 1024
    composer = Composer(shipped.ins, shipped.text_encoder, shipped.tokenizer, shipped.scheduler)
    assert shipped.rec.config["composer"] == composer.model
    assert f"`{files.fingerprint(shipped.ins)}`" in (folder / "README.md").read_text()


def test_rec_brings_hands_together_in_time(made: dict[str, torch.Tensor], clips: list[Clip]) -> None:
    alone, post = checked(made["alone"], clips), checked(made["post"], clips)
    assert post["gap"] < 0.7 * alone["gap"]
    assert post["timing"] <= 2
    assert post["bone"] < 0.02
    assert post["inside"] <= alone["inside"] + 0.01


def test_what_is_made_fits_its_text(made: dict[str, torch.Tensor], clips: list[Clip], shipped: Any) -> None:
    judge = MotionEvaluator.from_pretrained(files.folder("motion") / "evaluator").eval()
    text = metrics.text_features(judge, shipped.tokenizer, [clip.caption for clip in clips])
    frames = [clip.frames for clip in clips]
    real = metrics.retrieved(text, metrics.motion_features(judge, data.pack(clips).u_N2TC, frames), pool=SCENES)
    assert real.mean(axis=0)[0] > 0.9, "the evaluator knows real scenes"
    padded = torch.nn.functional.pad(made["post"], (0, 0, 0, data.FRAMES - made["post"].shape[2]))
    ours = metrics.retrieved(text, metrics.motion_features(judge, padded, frames), pool=SCENES)
    assert ours.mean(axis=0)[2] > 0.5


def test_segments_decide_when(shipped: Any) -> None:
    prompt = "person one claps while person two stands then they shake right hands"
    found = []
    for start in (10, 16):
        out = shipped(
            prompt, [("solo", 0), ("interaction", start)], start + 20, generator=torch.Generator().manual_seed(1)
        )
        hands = np.linalg.norm(out.motions[0, 0, :, 21] - out.motions[0, 1, :, 21], axis=-1)
        found.append(int(np.argmax(hands <= hands.min() + metrics.NEAR)))
    assert abs(found[0] - 18) <= 3
    assert abs(found[1] - 24) <= 3
