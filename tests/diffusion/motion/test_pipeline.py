"""The pipeline: modes, seeds, saving, missing parts, callbacks, bad input."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from aiflow.diffusion import files
from aiflow.diffusion.motion.pipeline import InterleavedMotionPipeline
from aiflow.errors import InputError

from .tiny import PROMPT, SEGMENTS, pipeline


def run(pipe: Any, **more: Any) -> Any:
    options = {"num_inference_steps": 3, "generator": torch.Generator().manual_seed(3), "output_type": "latent"}
    return pipe(PROMPT, SEGMENTS, 30, **{**options, **more})


def test_modes_differ_and_seeds_repeat() -> None:
    pipe = pipeline()
    made = {mode: run(pipe, rec_mode=mode).motions for mode in (None, "post", "loop")}
    assert made["post"].shape == (1, 2, 30, 262)
    assert not torch.allclose(made["post"], made[None])
    assert not torch.allclose(made["post"], made["loop"])
    assert torch.equal(run(pipe, rec_mode="loop").motions, made["loop"])
    facts = run(pipe, rec_mode="loop").made_by
    assert facts["rec_mode"] == "loop"
    assert facts["ins"] == files.fingerprint(pipe.ins)


def test_post_is_rec_on_what_ins_made() -> None:
    pipe = pipeline()
    alone = InterleavedMotionPipeline(pipe.ins, None, pipe.text_encoder, pipe.tokenizer, pipe.scheduler)
    only_rec = InterleavedMotionPipeline(None, pipe.rec, pipe.text_encoder, pipe.tokenizer, pipe.scheduler)
    first = run(alone, rec_mode=None).motions
    assert torch.equal(only_rec(PROMPT, SEGMENTS, 30, motions=first, output_type="latent").motions, run(pipe).motions)


def test_a_batch_equals_its_scenes() -> None:
    pipe = pipeline()
    noise = torch.randn(2, 2, 30, 262, generator=torch.Generator().manual_seed(0))
    prompts, plans = [PROMPT, "person two jumps while person one claps"], [SEGMENTS, [("solo", 0)]]
    both = pipe(prompts, plans, [30, 18], latents=noise, num_inference_steps=2, output_type="latent")
    assert both.frames == [30, 18]
    assert both.motions[1, :, 18:].abs().max() == 0
    one = pipe(prompts[1], plans[1], 18, latents=noise[1:, :, :18], num_inference_steps=2, output_type="latent")
    assert torch.allclose(both.motions[1:, :, :18], one.motions, atol=1e-4)


def test_saved_and_loaded(tmp_path: Path) -> None:
    pipe = pipeline()
    pipe.save_pretrained(tmp_path)
    again = files.load(tmp_path)
    assert isinstance(again, InterleavedMotionPipeline)
    assert torch.equal(run(again).motions, run(pipe).motions)
    assert again.config.fps == 10
    without = files.load(tmp_path, rec=None)
    assert torch.equal(run(without, rec_mode=None).motions, run(pipe, rec_mode=None).motions)


def test_callback_sees_and_replaces() -> None:
    pipe, seen = pipeline(), []

    def callback(_: Any, step: int, t: Any, tensors: dict[str, Any]) -> dict[str, Any]:
        seen.append((step, int(t), tuple(tensors["estimate"].shape)))
        return {"latents": torch.zeros_like(tensors["latents"])}

    made = run(
        pipe, rec_mode=None, callback_on_step_end=callback, callback_on_step_end_tensor_inputs=["latents", "estimate"]
    )
    assert [step for step, _, _ in seen] == [0, 1, 2]
    assert seen[0][1] == 999
    assert torch.allclose(made.motions, pipe.ins.mean_C.expand_as(made.motions))


def test_joints_come_out_and_tuples() -> None:
    made = run(pipeline(), output_type="joints")
    assert made.motions.shape == (1, 2, 30, 22, 3)
    assert np.isfinite(made.motions).all()
    assert isinstance(run(pipeline(), return_dict=False), tuple)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"rec_mode": "often"}, "often"),
        ({"num_inference_steps": 0}, "1 to 1000"),
        ({"guidance_scale": -1.0}, "0 to 20"),
        ({"output_type": "pil"}, "pil"),
        ({"latents": torch.zeros(1, 2, 31, 262)}, "31"),
        ({"latents": torch.full((1, 2, 30, 262), float("nan"))}, "finite"),
        ({"motions": torch.zeros(1, 2, 30, 262), "rec_mode": "loop"}, "post"),
    ],
)
def test_bad_options(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        run(pipeline(), **changes)


@pytest.mark.parametrize(
    ("prompt", "segments", "frames", "said"),
    [
        ("", SEGMENTS, 30, "empty"),
        ("person one moonwalks", SEGMENTS, 30, "moonwalks"),
        ("claps " * 60, SEGMENTS, 30, "at most 48"),
        (PROMPT, SEGMENTS, 300, "16 to 48"),
        (PROMPT, [("solo", 5)], 30, "first at 0"),
        (PROMPT, [("dance", 0)], 30, "dance"),
        (PROMPT, [], 30, "prompts|segments"),
        (PROMPT, "solo", 30, "pairs"),
        ([PROMPT, PROMPT], [SEGMENTS, SEGMENTS], [30], "lengths|one for each"),
    ],
)
def test_bad_requests(prompt: Any, segments: Any, frames: Any, said: str) -> None:
    with pytest.raises(InputError, match=said):
        pipeline()(prompt, segments, frames, num_inference_steps=1)


def test_parts_that_are_missing() -> None:
    pipe = pipeline()
    alone = InterleavedMotionPipeline(pipe.ins, None, pipe.text_encoder, pipe.tokenizer, pipe.scheduler)
    with pytest.raises(InputError, match="coordinator"):
        run(alone)
    only_rec = InterleavedMotionPipeline(None, pipe.rec, pipe.text_encoder, pipe.tokenizer, pipe.scheduler)
    with pytest.raises(InputError, match="composer"):
        run(only_rec)
