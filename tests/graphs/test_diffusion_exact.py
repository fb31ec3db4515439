"""Each graph over agents gives what its pipeline gives in one process, from random weights; and what then crosses."""

import asyncio
import sys
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "agents" / "diffusion"))

import tiny
import toys

from aiflow.agents.deployment import Deployment, connect
from aiflow.clock import VirtualClock
from aiflow.diffusion.files import load
from aiflow.errors import InputError, MessageError, UnknownModelError
from aiflow.graphs import fetch, networked, parallel, serial

NODES = ("phone", "laptop", "tablet", "watch")
SUBSETS = [names for count in range(5) for names in combinations(tiny.CLIPS, count)]


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    home = tmp_path_factory.mktemp("pipelines")
    torch.set_num_threads(1)
    return {make.__name__: make(home / make.__name__) for make in (tiny.motion, tiny.depth, tiny.video)}


@pytest.fixture(scope="session")
def home() -> Deployment:
    """One home for all, on simulated time: what is not told takes no time."""
    return connect(toys.HOME, local=True, clock=VirtualClock())


@pytest.fixture(scope="session")
def motion(home: Deployment, folders: dict[str, Path]) -> tuple[Any, Any]:
    ins = home.agent("ins", node="phone", model=f"{folders['motion']}#ins")
    return ins, home.agent("rec", node="laptop", model=f"{folders['motion']}#rec")


@pytest.fixture(scope="session")
def depth(home: Deployment, folders: dict[str, Path]) -> list[Any]:
    roles = ("encoder", "near", "far", "fusion")
    pairs = zip(roles, NODES, strict=True)
    return [home.agent(role, node=place, model=f"{folders['depth']}#{role}") for role, place in pairs]


@pytest.fixture(scope="session")
def video(home: Deployment, folders: dict[str, Path]) -> tuple[list[Any], dict[str, Any]]:
    model = f"{folders['video']}#"
    backbones = [home.agent(f"backbone{n}", node=("hub", "camera")[n], model=f"{model}backbone") for n in range(2)]
    names = zip(tiny.CLIPS, NODES, strict=True)
    return backbones, {name: home.agent(f"v-{name}", node=place, model=model + name) for name, place in names}


async def run(home: Deployment, graph: Any, state: Any, context: Any = None) -> tuple[dict[str, Any], Any]:
    async def main() -> Any:
        end = await graph.ainvoke(state, context=context)
        return end, await fetch(end, home)

    clock = home.network.clock
    assert isinstance(clock, VirtualClock)
    async with asyncio.timeout(60):
        return await clock.run(main())  # type: ignore[no-any-return]


@pytest.mark.parametrize(("refine", "mode"), [("none", None), ("post", "post"), ("loop", "loop")])
async def test_motion(
    home: Deployment, motion: tuple[Any, Any], folders: dict[str, Path], refine: Any, mode: Any
) -> None:
    segments = [("solo", 0), ("interaction", 14)]
    asked = {"prompt": tiny.PROMPT, "segments": segments, "frames": 32, "seed": 5, "steps": 4, "guidance": 2.0}
    state, made = await run(home, serial(*motion, refine=refine), asked)
    pipeline = load(folders["motion"])
    how = {"rec_mode": mode, "num_inference_steps": 4, "guidance_scale": 2.0, "output_type": "latent"}
    rng = torch.Generator().manual_seed(5)
    expected = pipeline(tiny.PROMPT, segments, 32, generator=rng, **how).motions[0]
    assert state["marks"] == []
    assert np.abs(made.u - expected[:, :32].numpy()).max() <= 1e-5


@pytest.mark.parametrize("anchor", [4.0, "auto", "pool"])
@pytest.mark.parametrize("fused_by", ["agent", "asker"])
async def test_depth(home: Deployment, depth: Any, folders: dict[str, Path], anchor: Any, fused_by: str) -> None:
    graph = parallel(*depth[: 4 if fused_by == "agent" else 3], anchor=anchor, at="camera")
    state, made = await run(home, graph, {}, {"image": tiny.image()})
    expected = load(folders["depth"])(tiny.image(), anchor=anchor)
    assert (state["marks"], state["used"], made.anchors) == ([], ["near", "far"], expected.anchors)
    assert np.array_equal(made.valid, np.isfinite(expected.depth))
    assert np.array_equal(made.depth[made.valid], expected.depth[made.valid])
    features = [flow for flow in state["trace"]["flows"] if flow["kind"] == "depth.Features"]
    assert sorted((flow["from"], flow["to"], flow["messages"]) for flow in features) == [
        ("phone", "laptop", 1),
        ("phone", "tablet", 1),
    ]


@pytest.mark.parametrize("plan", ["home", "owner", "cfg"])
@pytest.mark.parametrize("given", SUBSETS)
async def test_video(home: Deployment, video: Any, folders: dict[str, Path], plan: Any, given: Any) -> None:
    backbones, modalities = video
    clips = {name: tiny.clip(place) for place, name in enumerate(given)}
    steps, made = 3, [name for name in tiny.CLIPS if name not in given]
    graph = networked(backbones if plan == "cfg" else backbones[0], modalities, plan=plan)
    asked = {"prompt": tiny.SCENE, "steps": steps, "seed": 3, "guidance": 1.5}
    state, found = await run(home, graph, asked, clips)
    whole = load(folders["video"])(
        tiny.SCENE,
        conditions={name: torch.from_numpy(clip)[None] for name, clip in clips.items()},
        num_inference_steps=steps,
        guidance_scale=1.5,
        seed=3,
    )
    assert (state["marks"], state["missing"], state["tries"]) == ([], [], 1)
    assert state["roles_used"] == whole.roles_used
    assert list(found) == made
    for name, video_ in found.items():
        assert np.abs(video_.clip - whole.videos[name][0].numpy()).max() <= 1e-5
    flows = state["trace"]["flows"]
    latents = sum(f["messages"] for f in flows if f["kind"] == "video.Latents")
    velocities = sum(f["messages"] for f in flows if f["kind"] == "video.Velocity")
    halves = sum(f["messages"] for f in flows if f["kind"] == "video.Half")
    if plan == "home":
        assert (latents, velocities, halves) == (len(given) + len(made), 0, 0)
    elif plan == "owner":
        assert (latents, velocities, halves) == (len(given) + len(made) * steps, len(made) * steps, 0)
    else:
        assert (latents, velocities, halves) == (2 * len(given) + len(made), 0, 2 * steps if made else 0)


async def test_roles(home: Deployment, video: Any) -> None:
    backbones, modalities = video
    graph = networked(backbones[0], {name: modalities[name] for name in ("rgb", "depth")})
    asked = {"prompt": tiny.SCENE, "steps": 2, "roles": {"depth": "idle"}}
    state, found = await run(home, graph, asked)
    assert list(found) == ["rgb"]
    assert state["roles_used"]["depth"] == "idle"


@pytest.mark.parametrize(
    ("asked", "context", "said"),
    [
        ({"prompt": " "}, None, "empty"),
        ({"prompt": "a red penguin"}, None, "penguin"),
        ({}, None, "prompt=None"),
        ({"steps": 0}, None, "steps=0"),
        ({"seed": -2}, None, "seed=-2"),
        ({"guidance": float("inf")}, None, "guidance=inf"),
        ({"roles": {"sound": "generate"}}, None, "'sound', which no agent is"),
        ({"roles": {"rgb": "sing"}}, None, "'sing' is no role"),
        ({"roles": {"rgb": "condition"}}, None, "no clip"),
        ({"roles": dict.fromkeys(tiny.CLIPS, "idle")}, None, "every modality is idle"),
        ({}, {"sound": tiny.clip()}, "'sound', which no agent is"),
        ({}, {"depth": tiny.clip()[:, :1]}, r"shape \(8, 1, 16, 16\)"),
        ({}, {"depth": np.full((8, 3, 16, 16), np.nan)}, "finite"),
        ({}, {"depth": "clip"}, "cannot be read"),
        ({}, {"depth": tiny.clip(frames=32)}, "shorten it"),
    ],
)
async def test_bad_input_of_video(home: Deployment, video: Any, asked: Any, context: Any, said: str) -> None:
    backbones, modalities = video
    asked = {"prompt": tiny.SCENE, "steps": 2} | asked
    if asked.get("prompt") == tiny.SCENE and said == "prompt=None":
        del asked["prompt"]
    with pytest.raises(InputError, match=said):
        await run(home, networked(backbones[0], modalities), asked, context)


@pytest.mark.parametrize(
    ("context", "said"),
    [
        (None, "no image"),
        ({"image": tiny.image()[..., 0]}, "shape"),
        ({"image": tiny.image() / 255}, "dtype float64"),
    ],
)
async def test_bad_images(home: Deployment, depth: Any, context: Any, said: str) -> None:
    with pytest.raises(InputError, match=said):
        await run(home, parallel(*depth), {}, context)


async def test_bad_anchors_and_arguments(home: Deployment, depth: Any, motion: Any, video: Any) -> None:
    for anchor in (0, -1.0, float("nan"), "far", True):
        with pytest.raises(InputError, match="anchor="):
            parallel(*depth, anchor=anchor)
    with pytest.raises(InputError, match="cannot be the near"):
        parallel(depth[0], depth[2], depth[1])
    with pytest.raises(InputError, match="cannot be the refiner"):
        serial(motion[0], motion[0])
    with pytest.raises(InputError, match="cannot be the rgb"):
        networked(video[0], {"rgb": video[1]["depth"]})
    with pytest.raises(InputError, match="two backbones"):
        networked(video[0][0], video[1], plan="cfg")
    with pytest.raises(InputError, match="plan="):
        networked(video[0][0], video[1], plan="star")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="staleness="):
        networked(video[0][0], video[1], staleness=-1)
    with pytest.raises(UnknownModelError, match="must say which part"):
        home.agent("odd", node="phone", model="aiflow:video#sound")
    with pytest.raises(InputError, match="empty"):
        await run(home, serial(*motion), {"prompt": "", "segments": [["solo", 0]]})
    with pytest.raises(InputError):
        await run(home, serial(*motion), {"prompt": tiny.PROMPT, "segments": [["solo", 0]], "frames": 4000})


async def test_models_that_do_not_belong_together(home: Deployment, depth: Any, video: Any, tmp_path: Path) -> None:
    torch.manual_seed(1)
    other = tiny.depth(tmp_path / "depth")
    pipeline = load(other)
    with torch.no_grad():
        next(pipeline.encoder.parameters()).add_(0.1)
    pipeline.save_pretrained(other)
    far = home.agent("other-far", node="watch", model=f"{other}#far")
    with pytest.raises(MessageError, match="load both from one folder"):
        await run(home, parallel(depth[0], depth[1], far), {}, {"image": tiny.image()})
    alien = load(tiny.video(tmp_path / "video"))
    with torch.no_grad():
        next(alien.transformer.parameters()).add_(0.1)
    alien.save_pretrained(tmp_path / "video")
    other_depth = home.agent("other-depth", node="watch", model=f"{tmp_path / 'video'}#depth")
    graph = networked(video[0][0], video[1] | {"depth": other_depth})
    with pytest.raises(MessageError, match="load both from one folder"):
        await run(home, graph, {"prompt": tiny.SCENE, "steps": 2}, {"depth": tiny.clip()})
