"""`OmniVideoPipeline`: roles, saving and loading, schedulers, callbacks, stages on their own, bad input."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import CogVideoXDPMScheduler, DDIMScheduler, DDPMScheduler

from aiflow.diffusion.video.data import MODALITIES, Clips
from aiflow.diffusion.video.pipeline import OmniVideoPipeline, images
from aiflow.errors import InputError, UnsupportedModelError

from .conftest import make

STEPS = 3


def run(pipe: OmniVideoPipeline, clips: Clips, *given: str, **options: Any) -> Any:
    conditions = {name: clips.views[name] for name in given}
    return pipe(list(clips.captions), conditions=conditions, num_inference_steps=STEPS, **options)


def test_every_set_of_conditions(pipe: OmniVideoPipeline, clips: Clips) -> None:
    for number in range(16):
        given = [name for m, name in enumerate(MODALITIES) if number >> m & 1]
        out = run(pipe, clips, *given)
        assert out.roles_used == {n: "condition" if n in given else "generate" for n in MODALITIES}
        for name, video in out.videos.items():
            assert video.shape == (2, 8, 3, 16, 16)
            assert name not in given or torch.equal(video, torch.from_numpy(clips.views[name]))


def test_idle_modalities_are_not_made(pipe: OmniVideoPipeline, clips: Clips) -> None:
    out = run(pipe, clips, "depth", roles={"edges": "idle", "segment": "idle"})
    assert set(out.videos) == {"rgb", "depth"}
    assert out.roles_used["edges"] == "idle"
    assert not torch.equal(out.videos["rgb"], run(pipe, clips, "depth").videos["rgb"])


def test_a_sample_does_not_depend_on_its_batch(pipe: OmniVideoPipeline, clips: Clips) -> None:
    both = run(pipe, clips, "depth", seed=5).videos["rgb"]
    second = pipe(clips.captions[1], conditions={"depth": clips.views["depth"][1:]}, seed=6, num_inference_steps=STEPS)
    assert torch.allclose(both[1:], second.videos["rgb"], atol=1e-5)
    assert second.produced["seeds"] == [6]


def test_text_conditions_and_seed_count(pipe: OmniVideoPipeline, clips: Clips) -> None:
    one = run(pipe, clips, "depth").videos["rgb"]
    assert torch.equal(one, run(pipe, clips, "depth").videos["rgb"])
    assert not torch.equal(one, run(pipe, clips, "depth", seed=9).videos["rgb"])
    other = pipe("a red circle moving up on a dark background", num_inference_steps=STEPS).videos["rgb"]
    assert not torch.equal(other, pipe(clips.captions[0], num_inference_steps=STEPS).videos["rgb"])
    rng = [torch.Generator().manual_seed(4) for _ in range(2)]
    assert torch.equal(
        run(pipe, clips, generator=rng[0]).videos["rgb"], run(pipe, clips, generator=rng[1]).videos["rgb"]
    )


def test_saved_and_loaded_it_makes_the_same(pipe: OmniVideoPipeline, clips: Clips, tmp_path: Path) -> None:
    pipe.save_pretrained(tmp_path)
    again = OmniVideoPipeline.from_pretrained(tmp_path)
    again.set_progress_bar_config(disable=True)
    assert torch.equal(run(pipe, clips, "depth").videos["rgb"], run(again, clips, "depth").videos["rgb"])
    part = OmniVideoPipeline.from_pretrained(tmp_path, transformer=None, text_encoder=None, tokenizer=None)
    assert part.model_hash == pipe.model_hash == again.model_hash
    assert make(seed=1).model_hash != pipe.model_hash


def test_the_stages_by_themselves_make_the_same(pipe: OmniVideoPipeline, clips: Clips, tmp_path: Path) -> None:
    """Text, latents and clips on three sides: each has only its own components."""
    pipe.save_pretrained(tmp_path)
    off: dict[str, Any] = {"transformer": None, "vae": None, "text_encoder": None, "tokenizer": None}
    coder = OmniVideoPipeline.from_pretrained(tmp_path, **{**off, "vae": pipe.vae})
    text = OmniVideoPipeline.from_pretrained(
        tmp_path, **{**off, "text_encoder": pipe.text_encoder, "tokenizer": pipe.tokenizer}
    )
    middle = OmniVideoPipeline.from_pretrained(tmp_path, **{**off, "transformer": pipe.transformer})
    middle.set_progress_bar_config(disable=True)
    with torch.no_grad():
        given, words = coder.encode(clips.views["edges"]), text.embed(clips.captions)
        out = middle(conditions={"edges": given}, prompt_embeds=words, output_type="latent", num_inference_steps=STEPS)
        made = coder.decode(out.videos["rgb"])
    assert torch.equal(made, run(pipe, clips, "edges").videos["rgb"])


@pytest.mark.parametrize("kind", [DDIMScheduler, CogVideoXDPMScheduler])
def test_other_schedulers_fit(clips: Clips, kind: Any) -> None:
    pipe = make()
    pipe.scheduler = kind.from_config(pipe.scheduler.config)
    second = run(pipe, clips)
    assert second.produced["scheduler"] == kind.__name__
    assert torch.equal(second.videos["rgb"], run(pipe, clips).videos["rgb"])


def test_a_scheduler_that_predicts_noise_is_refused(clips: Clips) -> None:
    pipe = make()
    pipe.scheduler = DDPMScheduler()
    with pytest.raises(UnsupportedModelError, match="must predict v"):
        run(pipe, clips)


def test_the_callback_sees_and_changes_latents(pipe: OmniVideoPipeline, clips: Clips) -> None:
    seen = []

    def callback(_pipe: Any, k: int, t: int, tensors: dict[str, Any]) -> dict[str, Any]:
        seen.append((k, t, set(tensors["latents"])))
        return {"latents": {"rgb": torch.zeros_like(tensors["latents"]["rgb"])}} if k == STEPS - 1 else {}

    out = run(pipe, clips, "depth", callback_on_step_end=callback, output_type="latent")
    assert [k for k, _, _ in seen] == list(range(STEPS))
    assert seen[0][1] == 999 > seen[-1][1]
    assert not out.videos["rgb"].any()
    assert out.videos["segment"].any()


def test_outputs_and_pictures(pipe: OmniVideoPipeline, clips: Clips) -> None:
    array = run(pipe, clips, output_type="np").videos["rgb"]
    assert isinstance(array, np.ndarray)
    frames = run(pipe, clips, output_type="pil").videos["rgb"]
    assert len(frames) == 2
    assert frames[1][3].tobytes() == images(array[1])[3].tobytes()
    videos, roles = run(pipe, clips, return_dict=False)
    assert set(videos) == set(roles)


def bad(clips: Clips) -> list[tuple[dict[str, Any], str]]:
    view = clips.views["depth"][:1]
    nan = view.copy()
    nan[0, 0] = np.nan
    return [
        ({"prompt": ""}, "empty"),
        ({"prompt": None}, "missing"),
        ({"prompt": "a red elephant"}, "elephant"),
        ({"roles": {"thermal": "idle"}}, "thermal"),
        ({"roles": {"rgb": "conditon"}}, "did you mean 'condition'"),
        ({"roles": dict.fromkeys(MODALITIES, "idle")}, "every modality is idle"),
        ({"roles": {"depth": "condition"}}, r"conditions\['depth'\]"),
        ({"conditions": {"depth": nan}}, "NaN"),
        ({"conditions": {"depth": view * 3}}, r"\[-1, 1\]"),
        ({"conditions": {"depth": view[:, :, :2]}}, "shape"),
        ({"conditions": {"depth": "clip.png"}}, "numbers"),
        ({"conditions": {"depth": np.concatenate([view] * 2)}}, "1 finite clips"),
        ({"conditions": {"depth": np.concatenate([view] * 2, axis=1)}}, "shorten"),
        ({"conditions": {"depth": view, "edges": view[:, :4]}}, "differ in size"),
        ({"num_inference_steps": 0}, "0 steps"),
        ({"num_inference_steps": 1001}, "1001 steps"),
        ({"output_type": "mp4"}, "mp4"),
    ]


@pytest.mark.parametrize("number", range(17))
def test_bad_input(pipe: OmniVideoPipeline, clips: Clips, number: int) -> None:
    options, said = bad(clips)[number]
    with pytest.raises(InputError, match=said):
        pipe(**{"prompt": clips.captions[0], "num_inference_steps": STEPS, **options})


def test_a_model_without_a_head_for_it(clips: Clips) -> None:
    pipe = make(modalities=("rgb", "depth"))
    del pipe.transformer.heads["depth"]
    assert pipe(clips.captions[0], num_inference_steps=STEPS).roles_used == {"rgb": "generate", "depth": "idle"}
    with pytest.raises(InputError, match="no head for 'depth'"):
        pipe(clips.captions[0], roles={"depth": "generate"})
