"""The model that ships, on clips it has not seen: quality, the networked split, lost messages, size."""

from typing import Any

import numpy as np
import pytest
import torch

from aiflow.diffusion.files import WEIGHTS, fingerprint, load
from aiflow.diffusion.messages import decode, encode
from aiflow.diffusion.video import metrics, wire
from aiflow.diffusion.video.data import Clips, depth_metres, generate, segment_labels
from aiflow.diffusion.video.judges import load_judges
from aiflow.diffusion.video.party import parties
from aiflow.diffusion.video.pipeline import OmniVideoPipeline

from .test_parties import Nodes, all_roles, farthest

COUNT, STEPS = 20, 8


@pytest.fixture(scope="module")
def shipped() -> OmniVideoPipeline:
    return load("video")


@pytest.fixture(scope="module")
def test_clips() -> Clips:
    return generate("test", COUNT)


@pytest.fixture(scope="module")
def made(shipped: OmniVideoPipeline, test_clips: Clips) -> dict[str, Any]:
    """Every modality by what was given; with "" by text alone."""
    found = {}
    for name in ("", "depth", "segment", "edges", "rgb"):
        given = {name: test_clips.views[name]} if name else {}
        with torch.autocast("cpu", torch.bfloat16):
            out = shipped(list(test_clips.captions), conditions=given, num_inference_steps=STEPS)
        found[name] = {n: v.float().numpy() for n, v in out.videos.items()}
    return found


def test_each_condition_is_kept_better_than_text_alone_would(made: dict[str, Any], test_clips: Clips) -> None:
    reader = load_judges()[1]
    seen = {n: metrics.fidelity(reader, views["rgb"], test_clips.views).value() for n, views in made.items()}
    assert seen["depth"]["absrel"] < 0.5 * seen[""]["absrel"]
    assert seen["segment"]["miou"] > seen[""]["miou"] + 0.1
    assert seen["edges"]["edge_f1"] > seen[""]["edge_f1"] + 0.3


def test_captions_are_followed(made: dict[str, Any], test_clips: Clips) -> None:
    reader = load_judges()[0]
    assert metrics.caption_hits(reader, made[""]["rgb"], test_clips).mean() > 0.55  # by chance .27
    assert metrics.caption_hits(reader, made["depth"]["rgb"], test_clips).mean() > 0.8
    assert metrics.caption_hits(reader, test_clips.views["rgb"], test_clips).mean() > 0.9


def test_it_understands(made: dict[str, Any], test_clips: Clips) -> None:
    """From rgb: depth and segments; better than the wall everywhere."""
    depth = depth_metres(test_clips.views["depth"])
    wall = np.abs(depth - np.median(depth)).mean()
    assert np.abs(depth_metres(made["rgb"]["depth"]) - depth).mean() < 0.6 * wall
    labels = segment_labels(test_clips.views["segment"])
    assert (segment_labels(made["rgb"]["segment"]) == labels).mean() > 0.93


def test_the_autoencoder_is_not_the_limit(shipped: OmniVideoPipeline, test_clips: Clips) -> None:
    for name, most in {"rgb": 0.02, "depth": 0.01, "segment": 0.03, "edges": 0.05}.items():
        with torch.no_grad():
            again = shipped.decode(shipped.encode(test_clips.views[name])).numpy()
        assert ((again - test_clips.views[name]) ** 2).mean() < most


def test_split_over_five_nodes_it_makes_the_same(shipped: OmniVideoPipeline, test_clips: Clips) -> None:
    nodes, roles = Nodes(shipped, test_clips), all_roles(["depth"])
    split, _ = nodes.owner(roles, ["depth"])
    out = shipped(
        test_clips.captions[0], conditions={"depth": test_clips.views["depth"][:1]}, num_inference_steps=4, seed=3
    )
    whole = {n: v[0].numpy() for n, v in out.videos.items() if n != "depth"}
    assert farthest(split, whole) <= 1e-5


def test_lost_replies_cost_less_with_extrapolation_than_with_waiting(shipped: OmniVideoPipeline) -> None:
    """A quarter of the velocities to two nodes is lost; both ways are compared with the undisturbed result."""
    clips = generate("test", 1, start=3)
    errors = {way: _lossy(shipped, clips, way) for way in ("skip", "freeze")}
    assert errors["skip"] < 0.5 * errors["freeze"]


def _lossy(pipe: OmniVideoPipeline, clips: Clips, way: str) -> float:
    """Root mean square of the change of depth and segment clips."""
    results = []
    for lossy in (False, True):
        nodes, rng = parties(pipe), np.random.default_rng(0)
        bound = Nodes(pipe, clips).bound | {"schedule": _schedule(pipe)}
        start = wire.Start(
            **bound, prompt=clips.captions[0], roles=all_roles([]), plan="owner", steps=20, shape=[4, 16, 4, 4]
        )
        nodes["backbone"].handle(encode(start))
        begin = encode(wire.Begin(request="r", seed=0, steps=20, shape=[4, 16, 4, 4]))
        last = {n: nodes[n].handle(begin) for n in all_roles([])}
        for k in range(20):
            for name in last:
                nodes["backbone"].handle(last[name])
            nodes["backbone"].handle(encode(wire.Advance(request="r", step=k)))
            for name in last:
                lost = lossy and name in ("depth", "segment") and 0 < k < 19 and rng.random() < 0.25
                velocity = nodes["backbone"].handle(encode(wire.Collect(request="r", modality=name, step=k + 1)))
                if lost and way == "skip":
                    velocity = encode(wire.Skip(request="r", modality=name, step=k))
                elif lost:  # the latents stay as they are, the step goes by
                    owned = nodes[name]._owned["r"]
                    owned.step += 1
                    last[name] = nodes[name]._state("r", owned)
                    continue
                last[name] = nodes[name].handle(velocity)
        results.append(np.stack([decode(last[n], wire.Video).clip for n in ("depth", "segment")]))
    return float(np.sqrt(((results[0] - results[1]) ** 2).mean()))


def _schedule(pipe: OmniVideoPipeline) -> str:
    from aiflow.diffusion.files import schedule_hash

    return schedule_hash(pipe.scheduler, 20)


def test_what_ships_is_small_and_says_what_it_is(shipped: OmniVideoPipeline) -> None:
    files = [f for f in (WEIGHTS / "video").rglob("*") if f.is_file()]
    assert sum(f.stat().st_size for f in files) < 8e6
    assert shipped.model_hash == fingerprint(shipped.transformer, shipped.text_encoder, shipped.vae)
