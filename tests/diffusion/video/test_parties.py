"""Five nodes that send each other bytes make what one process makes; and what becomes of nodes that are missing."""

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from aiflow.diffusion.files import schedule_hash
from aiflow.diffusion.messages import decode, encode
from aiflow.diffusion.video import wire
from aiflow.diffusion.video.backbone import Backbone
from aiflow.diffusion.video.data import MODALITIES, Clips
from aiflow.diffusion.video.party import Modality, load_party, parties
from aiflow.diffusion.video.pipeline import OmniVideoPipeline
from aiflow.diffusion.video.sampling import Stepper, noise
from aiflow.errors import AiflowError, InputError, MessageError, ProtocolError

STEPS, SEED = 4, 3
SHAPE = [4, 16, 4, 4]


class Nodes:
    """The five nodes, and the bytes and messages that cross between them."""

    def __init__(self, pipe: OmniVideoPipeline, clips: Clips, request: str = "r") -> None:
        self.pipe, self.clips, self.request = pipe, clips, request
        self.nodes, self.second = parties(pipe), Backbone(pipe)
        self.messages, self.bytes = 0, 0
        self.bound = {"request": request, "model": pipe.model_hash, "schedule": schedule_hash(pipe.scheduler, STEPS)}

    def send(self, to: Any, payload: bytes) -> bytes:
        self.messages += 1
        self.bytes += len(payload)
        return bytes(to.handle(payload))

    @property
    def backbone(self) -> Backbone:
        return self.nodes["backbone"]

    def give(self, *names: str) -> None:
        for name in names:
            clip = self.clips.views[name][0]
            latents = self.nodes[name].handle(encode(wire.Encode(request=self.request, clip=clip, steps=STEPS)))
            self.send(self.backbone, latents)

    def start(self, roles: dict[str, Any], to: Any = None, **options: Any) -> wire.State:
        prompt = self.clips.captions[0]
        message = wire.Start(**self.bound, prompt=prompt, roles=roles, seed=SEED, steps=STEPS, shape=SHAPE, **options)
        return decode((to or self.backbone).handle(encode(message)), wire.State)

    def advance(self, k: int, *missing: str) -> wire.State:
        message = wire.Advance(request=self.request, step=k, missing=list(missing))
        return decode(self.backbone.handle(encode(message)), wire.State)

    def collect(self, name: str, step: int) -> bytes:
        return self.backbone.handle(encode(wire.Collect(request=self.request, modality=name, step=step)))

    def begin(self, name: str) -> bytes:
        message = wire.Begin(request=self.request, seed=SEED, steps=STEPS, shape=SHAPE)
        return bytes(self.nodes[name].handle(encode(message)))

    def home(self, roles: dict[str, Any], given: list[str]) -> tuple[dict[str, Any], wire.State]:
        self.give(*given)
        state = self.start(roles)
        for k in range(STEPS):
            state = self.advance(k)
        made = [n for n, role in state.roles_used.items() if role == "generate"]
        return {n: decode(self.send(self.nodes[n], self.collect(n, STEPS)), wire.Video).clip for n in made}, state

    def owner(
        self, roles: dict[str, Any], given: list[str], lost: dict[int, str] | None = None, **options: Any
    ) -> tuple[dict[str, Any], wire.State]:
        """``lost``: at these steps, whose latents do not arrive (its velocity does)."""
        self.give(*given)
        state = self.start(roles, plan="owner", **options)
        last = {n: self.begin(n) for n, role in state.roles_used.items() if role == "generate"}
        for k in range(STEPS):
            missing = (lost or {}).get(k)
            for name in last:
                if name != missing and state.roles_used[name] == "generate":
                    self.send(self.backbone, last[name])
            state = self.advance(k, *([missing] if missing else []))
            for name in last:
                if state.roles_used[name] == "generate":
                    last[name] = self.send(self.nodes[name], self.collect(name, k + 1))
        made = {n: decode(b, wire.Video).clip for n, b in last.items() if state.roles_used[n] == "generate"}
        return made, state


def whole(pipe: OmniVideoPipeline, clips: Clips, roles: dict[str, str], given: list[str]) -> dict[str, Any]:
    conditions = {n: clips.views[n][:1] for n in given}
    out = pipe(clips.captions[0], roles, conditions, num_inference_steps=STEPS, seed=SEED, output_type="np")
    return {n: v[0] for n, v in out.videos.items() if out.roles_used[n] == "generate"}


def farthest(a: dict[str, Any], b: dict[str, Any]) -> float:
    assert set(a) == set(b)
    return max(float(np.abs(a[n] - b[n]).max()) for n in a)


def all_roles(given: list[str], idle: list[str] = []) -> dict[str, str]:  # noqa: B006
    return {n: "condition" if n in given else "idle" if n in idle else "generate" for n in MODALITIES}


def subsets() -> Iterator[list[str]]:
    for number in range(15):
        yield [n for m, n in enumerate(MODALITIES) if number >> m & 1]


@pytest.mark.parametrize("given", list(subsets()), ids="+".join)
def test_home_equals_one_process_for_every_set_of_conditions(
    pipe: OmniVideoPipeline, clips: Clips, given: list[str]
) -> None:
    nodes = Nodes(pipe, clips)
    made, state = nodes.home(all_roles(given), given)
    assert farthest(made, whole(pipe, clips, all_roles(given), given)) == 0
    assert state.roles_used == all_roles(given)
    assert nodes.messages == wire.messages("home", len(given), len(made), STEPS) == len(given) + len(made)
    assert nodes.bytes == pytest.approx(nodes.messages * 4096, rel=0.1)


@pytest.mark.parametrize("given", [[], ["depth"], ["rgb", "edges"]], ids="+".join)
def test_owner_equals_one_process(pipe: OmniVideoPipeline, clips: Clips, given: list[str]) -> None:
    nodes = Nodes(pipe, clips)
    made, state = nodes.owner(all_roles(given), given)
    assert farthest(made, whole(pipe, clips, all_roles(given), given)) <= 1e-5
    assert nodes.messages == wire.messages("owner", len(given), len(made), STEPS) == len(given) + 2 * len(made) * STEPS
    assert set(state.stale.values()) == {0}


def test_cfg_halves_equal_one_process(pipe: OmniVideoPipeline, clips: Clips) -> None:
    nodes, roles = Nodes(pipe, clips), all_roles(["depth"])
    nodes.give("depth")
    given = nodes.nodes["depth"].handle(encode(wire.Encode(request="r", clip=clips.views["depth"][0], steps=STEPS)))
    nodes.send(nodes.second, given)
    nodes.start(roles, plan="cfg", half="text")
    nodes.start(roles, to=nodes.second, plan="cfg", half="empty")
    for k in range(STEPS):
        step = encode(wire.Advance(request="r", step=k))
        halves = nodes.backbone.handle(step), nodes.second.handle(step)
        states = nodes.send(nodes.backbone, halves[1]), nodes.send(nodes.second, halves[0])
        assert states[0] == states[1]
    clips_made = {
        n: decode(nodes.send(nodes.nodes[n], nodes.collect(n, STEPS)), wire.Video).clip
        for n in ("rgb", "segment", "edges")
    }
    assert farthest(clips_made, whole(pipe, clips, roles, ["depth"])) <= 1e-5
    assert nodes.messages == wire.messages("cfg", 1, 3, STEPS) == 2 + 3 + 2 * STEPS
    again = encode(wire.Collect(request="r", modality="rgb", step=STEPS))
    assert nodes.second.handle(again) == nodes.backbone.handle(again)


def test_one_half_goes_on_alone(pipe: OmniVideoPipeline, clips: Clips) -> None:
    nodes, roles = Nodes(pipe, clips), all_roles([])
    nodes.start(roles, plan="cfg", half="text")
    nodes.start(roles, to=nodes.second, plan="cfg", half="empty")
    for k in range(2):
        step = encode(wire.Advance(request="r", step=k))
        halves = nodes.backbone.handle(step), nodes.second.handle(step)
        nodes.backbone.handle(halves[1])
        nodes.second.handle(halves[0])
    for k in range(2, STEPS):
        state = nodes.advance(k, "half")
    assert state.alone == 2
    made = {n: decode(nodes.nodes[n].handle(nodes.collect(n, STEPS)), wire.Video).clip for n in MODALITIES}
    assert farthest(made, whole(pipe, clips, roles, [])) <= 1e-5


def test_a_condition_that_does_not_come_is_idle(pipe: OmniVideoPipeline, clips: Clips) -> None:
    made, state = Nodes(pipe, clips).home(all_roles(["depth", "edges"]), ["edges"])
    assert state.roles_used["depth"] == "idle"
    assert farthest(made, whole(pipe, clips, all_roles(["edges"], ["depth"]), ["edges"])) == 0


@pytest.mark.parametrize("at", range(STEPS))
def test_one_lost_step_costs_nothing(pipe: OmniVideoPipeline, clips: Clips, at: int) -> None:
    """The last prediction, one step on, is the sampler's own step; at step 0 the noise is drawn again."""
    made, state = Nodes(pipe, clips).owner(all_roles(["depth"]), ["depth"], {at: "edges"})
    assert farthest(made, whole(pipe, clips, all_roles(["depth"]), ["depth"])) <= 1e-5
    assert state.stale == {"rgb": 0, "segment": 0, "edges": 1}
    assert state.roles_used["edges"] == "generate"


def test_a_node_that_stays_away_becomes_idle_and_comes_back(pipe: OmniVideoPipeline, clips: Clips) -> None:
    nodes = Nodes(pipe, clips)
    nodes.start(all_roles([]), plan="owner")
    last = {n: nodes.begin(n) for n in MODALITIES}
    used = []
    for k in range(STEPS):
        if k == STEPS - 1:  # it has forgotten everything, and is back
            nodes.nodes["rgb"] = Modality("rgb", pipe)
            with pytest.raises(MessageError, match="knows no request"):
                nodes.nodes["rgb"].handle(encode(wire.Skip(request="r", modality="rgb", step=k)))
            restore = nodes.backbone.handle(encode(wire.Snapshot(request="r", modality="rgb")))
            last["rgb"] = nodes.nodes["rgb"].handle(restore)
        away = ["rgb"] if k in (1, 2) else []
        for name in [n for n in MODALITIES if n not in away]:
            assert decode(nodes.backbone.handle(last[name]), wire.Ack).used
        used.append(nodes.advance(k, *away))
        for name in [n for n in MODALITIES if n not in away]:
            last[name] = nodes.nodes[name].handle(nodes.collect(name, k + 1))
    assert [s.roles_used["rgb"] for s in used] == ["generate", "generate", "idle", "generate"]
    assert used[-1].stale == {"rgb": 1, "depth": 0, "segment": 0, "edges": 0}
    clip = decode(last["rgb"], wire.Video)
    assert clip.extrapolated
    assert np.isfinite(clip.clip).all()


def test_latents_that_come_too_late_are_not_used(pipe: OmniVideoPipeline, clips: Clips) -> None:
    nodes = Nodes(pipe, clips)
    nodes.start(all_roles([]), plan="owner")
    last = {n: nodes.begin(n) for n in MODALITIES}
    for name in MODALITIES[1:]:
        nodes.backbone.handle(last[name])
    nodes.advance(0, "rgb")
    assert not decode(nodes.backbone.handle(last["rgb"]), wire.Ack).used


def test_a_velocity_that_does_not_come_is_skipped(pipe: OmniVideoPipeline, clips: Clips) -> None:
    """One lost reply: the node goes on by its own last prediction, and says so."""
    nodes, roles = Nodes(pipe, clips), all_roles(["rgb"])
    nodes.give("rgb")
    nodes.start(roles, plan="owner")
    last = {n: nodes.begin(n) for n in MODALITIES[1:]}
    for k in range(STEPS):
        for name in last:
            nodes.backbone.handle(last[name])
        nodes.advance(k)
        for name in last:
            lost = name == "depth" and k == 2
            skip = encode(wire.Skip(request="r", modality=name, step=k))
            last[name] = nodes.nodes[name].handle(skip if lost else nodes.collect(name, k + 1))
    made = {n: decode(b, wire.Video) for n, b in last.items()}
    exact = whole(pipe, clips, roles, ["rgb"])
    assert made["depth"].extrapolated
    assert not made["edges"].extrapolated
    assert 0 < float(np.abs(made["depth"].clip - exact["depth"]).max()) < 1.5


def test_extrapolation_is_ddim_when_the_prediction_holds(pipe: OmniVideoPipeline) -> None:
    stepper = Stepper(pipe.scheduler, 10, "rgb")
    x, v = noise([0], "rgb", SHAPE), noise([1], "rgb", SHAPE)
    for k in range(10):
        prediction = stepper.estimate(k, v, x)
        assert torch.allclose(stepper.extrapolate(k, *prediction), x, atol=1e-5)
        assert torch.allclose(stepper.extrapolate(k + 1, *prediction), stepper.step(k, v, x, [0]), atol=1e-5)


def test_the_same_message_twice_gives_the_same_bytes(pipe: OmniVideoPipeline, clips: Clips) -> None:
    nodes = Nodes(pipe, clips)
    nodes.give("depth")
    start = wire.Start(
        **nodes.bound, prompt=clips.captions[0], roles=all_roles(["depth"]), plan="owner", steps=STEPS, shape=SHAPE
    )
    assert nodes.backbone.handle(encode(start)) == nodes.backbone.handle(encode(start))
    first = nodes.begin("rgb")
    assert nodes.begin("rgb") == first
    for name in ("rgb", "segment", "edges"):
        assert nodes.backbone.handle(nodes.begin(name)) == nodes.backbone.handle(nodes.begin(name))
    assert nodes.advance(0) == nodes.advance(0)
    velocity = nodes.collect("rgb", 1)
    assert nodes.collect("rgb", 1) == velocity
    assert nodes.nodes["rgb"].handle(velocity) == nodes.nodes["rgb"].handle(velocity)


def test_nodes_of_a_saved_pipeline_have_only_their_part(pipe: OmniVideoPipeline, clips: Clips, tmp_path: Path) -> None:
    pipe.save_pretrained(tmp_path)
    backbone, depth, rgb = (load_party(tmp_path, role) for role in ("backbone", "depth", "rgb"))
    assert backbone.pipeline.vae is None
    assert depth.pipeline.transformer is None
    nodes = Nodes(pipe, clips)
    nodes.nodes |= {"backbone": backbone, "depth": depth, "rgb": rgb}
    made, _ = nodes.home(all_roles(["depth"], ["segment", "edges"]), ["depth"])
    assert farthest(made, whole(pipe, clips, all_roles(["depth"], ["segment", "edges"]), ["depth"])) == 0
    with pytest.raises(InputError, match="thermal"):
        load_party(tmp_path, "thermal")


def refused(nodes: Nodes) -> list[tuple[str, Any, str]]:
    """Who gets what, and what it says."""
    r = nodes.request
    bound = nodes.bound
    latents = decode(nodes.begin("rgb"), wire.Latents)
    zeros = np.zeros((1, *SHAPE), np.float32)
    start = {**bound, "prompt": "a red circle", "roles": all_roles([]), "steps": STEPS, "shape": SHAPE}
    velocity = {**bound, "modality": "rgb", "step": 0, "timestep": 999, "velocity": zeros}
    return [
        ("backbone", latents.model_copy(update={"model": "0" * 16}), "model"),
        ("backbone", latents.model_copy(update={"schedule": "0" * 16}), "schedule"),
        ("backbone", latents.model_copy(update={"latents": zeros[:, :1]}), "shape"),
        ("backbone", latents.model_copy(update={"latents": zeros[:, :, :3]}), "shape"),
        ("backbone", latents.model_copy(update={"modality": "thermal"}), "thermal"),
        ("backbone", latents.model_copy(update={"request": "other"}), "knows no request"),
        ("backbone", latents.model_copy(update={"step": 2}), "step 2"),
        ("backbone", wire.Start(**{**start, "model": "0" * 16}), "model"),
        ("backbone", wire.Start(**{**start, "schedule": "0" * 16}), "schedule"),
        ("backbone", wire.Start(**start, plan="cfg"), "half"),
        ("backbone", wire.Start(**{**start, "shape": [4, 16]}), "shape"),
        ("backbone", wire.Start(**{**start, "roles": all_roles([*MODALITIES]), "request": "z"}), "nothing"),
        ("backbone", wire.Advance(request=r, step=3), "step"),
        ("backbone", wire.Advance(request=r, step=0), "have not come"),
        ("backbone", wire.Collect(request=r, modality="rgb", step=2), "nothing of rgb"),
        ("backbone", wire.Half(**bound, step=0, half="text", velocities={"rgb": zeros}), "does not wait"),
        ("backbone", wire.Snapshot(request="other", modality="rgb"), "knows no request"),
        ("rgb", wire.Velocity(**{**velocity, "model": "0" * 16}), "model"),
        ("rgb", wire.Velocity(**{**velocity, "schedule": "0" * 16}), "schedule"),
        ("rgb", wire.Velocity(**{**velocity, "velocity": zeros[:, :2]}), "shape"),
        ("rgb", wire.Velocity(**{**velocity, "modality": "depth"}), "came to the node of rgb"),
        ("rgb", wire.Velocity(**{**velocity, "step": 1}), "before step 0"),
        ("rgb", wire.Skip(request=r, modality="rgb", step=0), "no velocity yet"),
        ("rgb", wire.Restore(**bound, modality="rgb", seed=0, steps=STEPS, step=9, latents=zeros), "step 9"),
        ("rgb", latents, "not finished"),
        ("rgb", latents.model_copy(update={"timestep": 0, "scaling": 0.5}), "scaled by 0.5"),
        ("rgb", wire.Begin(request=r, seed=0, steps=STEPS, shape=[4, 8, 4, 4]), "16 channels"),
    ]  # fmt: skip


@pytest.mark.parametrize("number", range(27))
def test_what_is_refused_changes_nothing(pipe: OmniVideoPipeline, clips: Clips, number: int) -> None:
    nodes = Nodes(pipe, clips)
    nodes.start(all_roles([]), plan="owner")
    last = {n: nodes.begin(n) for n in MODALITIES}
    who, message, said = refused(nodes)[number]
    with pytest.raises(MessageError, match=said):
        nodes.nodes[who].handle(encode(message))
    assert {n: nodes.begin(n) for n in MODALITIES} == last
    for name in MODALITIES:
        nodes.backbone.handle(last[name])
    state = nodes.advance(0)
    assert (state.step, set(state.stale.values()), set(state.roles_used.values())) == (1, {0}, {"generate"})


def test_bad_clips_and_prompts_are_input_errors(pipe: OmniVideoPipeline, clips: Clips) -> None:
    nodes = Nodes(pipe, clips)
    with pytest.raises(InputError, match="cannot be coded"):
        nodes.nodes["rgb"].handle(
            encode(wire.Encode(request="r", clip=np.zeros((7, 3, 16, 16), np.float32), steps=STEPS))
        )
    with pytest.raises(InputError, match=r"\[-1, 1\]"):
        nodes.nodes["rgb"].handle(encode(wire.Encode(request="r", clip=np.full((8, 3, 16, 16), 2.0), steps=STEPS)))
    for roles, prompt, said in [(all_roles([]), " ", "empty"), ({"thermal": "idle"}, "a red circle", "thermal")]:
        message = wire.Start(**nodes.bound, prompt=prompt, roles=roles, steps=STEPS, shape=SHAPE)  # type: ignore[arg-type]
        with pytest.raises(InputError, match=said):
            nodes.backbone.handle(encode(message))
    long = wire.Start(**nodes.bound, prompt="a red circle", roles={}, steps=STEPS, shape=[40, 16, 4, 4])
    with pytest.raises(InputError, match="shorten"):
        nodes.backbone.handle(encode(long))


@settings(max_examples=40, deadline=None)
@given(place=st.integers(0, 10_000), flip=st.integers(1, 255), cut=st.integers(0, 200))
def test_damaged_bytes_are_protocol_errors(place: int, flip: int, cut: int) -> None:
    nodes = DAMAGED["nodes"]
    for who, payload in DAMAGED["payloads"]:
        broken = bytearray(payload[: max(1, len(payload) - cut)])
        broken[place % len(broken)] ^= flip
        before = copy.copy(vars(nodes[who]))
        with pytest.raises(ProtocolError):
            nodes[who].handle(bytes(broken))
        assert vars(nodes[who]) == before


DAMAGED: dict[str, Any] = {}


@pytest.fixture(autouse=True, scope="module")
def damaged(pipe: OmniVideoPipeline, clips: Clips) -> None:
    nodes = Nodes(pipe, clips, "damaged")
    nodes.start(all_roles([]), plan="owner")
    first = nodes.begin("rgb")
    DAMAGED.update(
        nodes=nodes.nodes,
        payloads=[
            ("backbone", first),
            ("backbone", encode(wire.Advance(request="damaged", step=0))),
            ("rgb", encode(wire.Encode(request="damaged", clip=clips.views["rgb"][0], steps=STEPS))),
        ],
    )


def test_forgotten_requests_are_named(pipe: OmniVideoPipeline, clips: Clips) -> None:
    nodes = Nodes(pipe, clips)
    nodes.start({})
    for number in range(20):
        other = Nodes(pipe, clips, f"r{number}")
        other.nodes = nodes.nodes
        other.start({})
    with pytest.raises(AiflowError, match="knows no request 'r'"):
        nodes.advance(0)
