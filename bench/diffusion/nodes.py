"""What the diffusion graphs cost as nodes: seconds and bytes of each, what crosses per plan, what two nodes save.

The home is emulated: links by the topology, nodes at a pace. A call takes what it takes on this machine, times one
factor for all, chosen so that the whole work in sequence takes ``COMPARED`` seconds: as long as models of real size
take, but in the proportions of the small ones. Time is simulated (and once real, beside it); what is computed, and
every byte, is real.
"""

import time
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from aiflow.agents.agent import Agent
from aiflow.agents.deployment import Deployment, connect
from aiflow.agents.diffusion.line import Line
from aiflow.agents.host import LocalHost
from aiflow.bench.diffusion import homes
from aiflow.bench.diffusion.homes import Scenario
from aiflow.clock import Clock, RealClock, VirtualClock

SECONDS = (0.5, 1.0, 2.0, 4.0)
"""Of the paced work in sequence."""
COMPARED = 2.0
"""The one that is compared with the bar, and the pace of the other figures."""
BAR = 0.65
"""Share of the time in sequence that the parallel graph may take on two nodes."""
REPEATS = 5
ENVELOPE = 700
"""Bytes of a message of a video plan beside its latents, at most."""


def measure(system: str, *, folder: str | None = None, steps: int | None = None) -> dict[str, Any]:
    """Per-node seconds, bytes and messages of a system's graphs, as JSON-able values.

    ``folder``: of a pipeline; by default the one that ships. ``steps``: of denoising. ``difference``: the greatest of
    any number from what the pipeline makes in one process. Raises UnknownModelError, WeightsError.
    """
    import torch

    from aiflow import aio

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    found: dict[str, Any] = aio.run(
        _measured(system, folder or system, steps or {"motion": 20, "video": 25}.get(system, 4))
    )
    torch.set_num_threads(before)
    return found


async def _measured(system: str, folder: str, steps: int) -> dict[str, Any]:
    known = {name: one for name, one in homes.scenarios(steps).items() if one.system == system}
    compute = {}
    found: dict[str, Any] = {"topology": homes.TOPOLOGY, "graphs": {}}
    for name, scenario in known.items():
        compute[name] = await _compute(scenario, folder)
        factor = COMPARED / sum(sum(kinds.values()) for kinds in compute[name].values())
        pace = {part: {kind: s * factor for kind, s in kinds.items()} for part, kinds in _each(compute[name]).items()}
        state, made, _ = await _run(scenario, folder, pace)
        trace = state["trace"]
        graph = {key: trace[key] for key in ("seconds", "link_seconds", "nodes", "links", "flows", "messages", "bytes")}
        graph |= {"sequence_s": COMPARED, "pace_factor": factor, "marks": trace["marks"]}
        graph["difference"] = _difference(scenario, folder, made)
        if system == "video":
            graph["plan"] = _plan(scenario, trace, made, steps)
        found["graphs"][name] = graph
    found["compute_ms"] = {
        name: {part: {kind: s * 1e3 for kind, s in kinds.items()} for part, kinds in _each(parts).items()}
        for name, parts in compute.items()
    }
    if system == "depth":
        pool = replace(known["parallel"], name="parallel pool", build=homes.depth_graph("pool"))
        found["two_nodes"] = {
            "one anchor": await _two_nodes(known["parallel"], folder, compute["parallel"], [homes.ANCHOR]),
            "pool": await _two_nodes(
                pool, folder, await _compute(pool, folder), list(homes.pipeline(folder).config.anchors)
            ),
        }
    return found


Calls = dict[str, dict[str, float]]
"""Seconds by part and kind of message, all calls together."""


class Counted(Calls):
    """``Calls`` with how many there were."""

    calls: dict[str, dict[str, int]]


async def _compute(scenario: Scenario, folder: str) -> Counted:
    """What each part computes in a run on this machine: the least of some repetitions, call by call."""
    least: dict[str, dict[int, tuple[str, float]]] = defaultdict(dict)
    for _ in range(REPEATS):
        _, _, timed = await _run(scenario, folder, {})
        for part, calls in timed.items():
            for number, (kind, seconds) in enumerate(calls):
                before = least[part].get(number, (kind, seconds))
                least[part][number] = kind, min(seconds, before[1])
    found = Counted()
    found.calls = {}
    for part, numbered in least.items():
        found[part], found.calls[part] = defaultdict(float), defaultdict(int)
        for kind, seconds in numbered.values():
            found[part][kind] += seconds
            found.calls[part][kind] += 1
    return found


def _each(compute: Counted) -> Calls:
    """Mean seconds of one call."""
    return {
        part: {kind: total / compute.calls[part][kind] for kind, total in kinds.items()}
        for part, kinds in compute.items()
    }


class _Timed:
    """A party whose calls are timed, in seconds of the processor: others on this machine do not count."""

    def __init__(self, party: Any, calls: list[tuple[str, float]]) -> None:
        self.party, self.calls = party, calls
        self.pipeline = getattr(party, "pipeline", None)
        self.model = getattr(party, "model", "")

    def handle(self, payload: bytes) -> bytes:
        from aiflow.agents.diffusion.wire import kind_of

        began = time.thread_time()
        answer: bytes = self.party.handle(payload)
        self.calls.append((kind_of(payload), time.thread_time() - began))
        return answer


async def _run(
    scenario: Scenario,
    folder: str,
    pace: Mapping[str, Any],
    nodes: Mapping[str, str] | None = None,
    clock: Clock | None = None,
) -> tuple[dict[str, Any], Any, dict[str, list[tuple[str, float]]]]:
    """A run, on simulated time unless a clock is given: its state, its result, and the calls of each part."""
    from aiflow.graphs import fetch

    home, agents = _home(clock), {}
    timed: dict[str, list[tuple[str, float]]] = {}
    for name, (role, node) in scenario.parts.items():
        timed[name] = []
        party = _Timed(homes.new_party(scenario.system, role, folder), timed[name])
        worker = homes.worker(home, scenario.system, role, folder, pace.get(name), party=party)
        agents[name] = homes.place(home, name, (nodes or {}).get(name, node), LocalHost(worker))
    graph = scenario.build(**agents, at=next(iter(agents.values())).node)

    async def both() -> Any:
        state = await graph.ainvoke(dict(scenario.asked), context=dict(scenario.context))
        return state, await fetch(state, home)

    state, made = await _driven(home, both())
    return state, made, timed


async def _two_nodes(scenario: Scenario, folder: str, compute: Counted, anchors: list[float]) -> dict[str, Any]:
    """The parallel graph with its far decoder on a second node, a link away, beside all in sequence on the first."""
    places = {"encoder": "laptop", "near": "laptop", "fusion": "laptop", "far": "edge"}
    whole = sum(sum(kinds.values()) for kinds in compute.values())

    async def row(seconds: float, clock: Clock | None = None) -> dict[str, float]:
        pace = {part: sum(kinds.values()) * seconds / whole for part, kinds in compute.items()}
        state, _, _ = await _run(scenario, folder, pace, places, clock)
        sequence, beside = await _sequence(scenario, folder, pace, anchors, clock), state["trace"]["seconds"]
        return {"sequence_s": sequence, "parallel_s": beside, "ratio": beside / sequence}

    rows = [await row(seconds) for seconds in SECONDS]
    compared = rows[SECONDS.index(COMPARED)]
    slower = max(sum(compute[name].values()) for name in ("near", "far"))
    other = sum(sum(compute[name].values()) for name in ("encoder", "fusion"))
    return {
        "rows": rows,
        "on_the_wall_clock": await row(COMPARED, RealClock()),
        "ratio": compared["ratio"],
        "bar": BAR,
        "meets_bar": compared["ratio"] <= BAR,
        "without_links": (other + slower) / whole,
    }


async def _sequence(
    scenario: Scenario, folder: str, pace: Mapping[str, float], anchors: list[float], clock: Clock | None
) -> float:
    """Seconds of encoder, near, far and fusion one after another on one node."""
    from aiflow.diffusion.depth.wire import Fuse, Picture
    from aiflow.diffusion.messages import encode

    home = _home(clock)

    def agent(name: str) -> Agent:
        worker = homes.worker(home, "depth", scenario.parts[name][0], folder, pace[name])
        return homes.place(home, name, "laptop", LocalHost(worker))

    encoder, near, far, fusion = (agent(name) for name in ("encoder", "near", "far", "fusion"))
    line = Line("r", home.network, "laptop")

    async def calls() -> float:
        began = home.network.clock.now()
        picture = encode(Picture(request="r", image=scenario.context["image"], anchors=anchors))
        features = await line.call(encoder, picture)
        maps = {"near": await line.call(near, features), "far": await line.call(far, features)}
        await line.bring(await line.call(fusion, encode(Fuse(request="r")), attached=maps))
        return home.network.clock.now() - began

    seconds: float = await _driven(home, calls())
    return seconds


def _plan(scenario: Scenario, trace: Mapping[str, Any], made: Mapping[str, Any], steps: int) -> dict[str, Any]:
    """Messages and bytes that the plan's formulas say, beside those that went from node to node."""
    given, generated = len(scenario.context), len(made)
    kinds: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    for flow in trace["flows"]:
        kinds[flow["kind"]][0] += flow["messages"]
        kinds[flow["kind"]][1] += flow["bytes"]
    clip = next(iter(made.values())).clip
    latent = 4 * _latent_values(clip.shape)
    expected = {
        "networked home": {"video.Latents": (given + generated, 1)},
        "networked owner": {
            "video.Latents": (given + generated * steps, 1),
            "video.Velocity": (generated * steps, 1),
        },
        "networked cfg": {"video.Latents": (2 * given + generated, 1), "video.Half": (2 * steps, generated)},
    }[scenario.name]
    rows = {}
    for kind, (messages, each) in expected.items():
        found, nbytes = kinds[kind]
        least = messages * each * latent
        rows[kind] = {
            "messages": found,
            "messages_formula": messages,
            "bytes": nbytes,
            "bytes_formula": least,
            "agrees": found == messages and least <= nbytes <= least + messages * ENVELOPE,
        }
    return {"rows": rows, "agrees": all(row["agrees"] for row in rows.values())}


def _latent_values(shape: tuple[int, ...]) -> int:
    """Values of a modality's latents of a clip (T, 3, H, W): of the small autoencoder, 16 for 2 x 4 x 4 pixels."""
    return shape[0] // 2 * 16 * (shape[2] // 4) * (shape[3] // 4)


def _difference(scenario: Scenario, folder: str, made: Any) -> float:
    """The greatest difference from the pipeline in one process."""
    import torch

    pipeline, asked = homes.pipeline(folder), scenario.asked
    if scenario.system == "depth":
        whole = pipeline(scenario.context["image"], anchor="auto" if scenario.name.endswith("auto") else homes.ANCHOR)
        known = made.valid
        return float(np.abs(made.depth[known] - np.asarray(whole.depth)[known]).max())
    if scenario.system == "motion":
        segments = [(kind, start) for kind, start in asked["segments"]]
        rng = torch.Generator().manual_seed(asked["seed"])
        how = {"rec_mode": scenario.name.split()[1], "num_inference_steps": asked["steps"], "output_type": "latent"}
        whole = pipeline(asked["prompt"], segments, asked["frames"], generator=rng, **how)
        return float(np.abs(made.u - whole.motions[0, :, : asked["frames"]].numpy()).max())
    clips = {name: torch.from_numpy(clip)[None] for name, clip in scenario.context.items()}
    how = {"num_inference_steps": asked["steps"], "seed": asked["seed"]}
    whole = pipeline(asked["prompt"], conditions=clips, **how).videos
    return max(float(np.abs(video.clip - whole[name][0].numpy()).max()) for name, video in made.items())


def _home(clock: Clock | None) -> Deployment:
    return connect(homes.TOPOLOGY, local=True, clock=clock or VirtualClock())


async def _driven(home: Deployment, work: Any) -> Any:
    clock = home.network.clock
    return await (clock.run(work) if isinstance(clock, VirtualClock) else work)
