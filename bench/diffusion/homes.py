"""The diffusion systems as agents of a home in this process: which parties, on which nodes, asked for what.

Weights are read once; every agent gets a party of its own, without memory. Knows no faults and no figures.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np

from aiflow.agents.agent import Agent
from aiflow.agents.backends.diffusion import DiffusionBackend
from aiflow.agents.deployment import Deployment
from aiflow.agents.diffusion.parties import loaded
from aiflow.agents.worker import Worker
from aiflow.diffusion.files import load

TOPOLOGY = """
nodes: {phone: device, tablet: device, laptop: device, watch: device, camera: device, edge: edge, cloud: cloud}
links:
  - {between: [device, edge], rate: 2 MB/s, rtt: 10 ms}
  - {between: [edge, cloud], rate: 20 MB/s, rtt: 30 ms}
"""
"""The nodes of the home that ships, without jitter."""
MODALITIES = {"rgb": "camera", "depth": "tablet", "segment": "laptop", "edges": "watch"}
"""Which node a modality is at home on."""
ANCHOR = 10.0
"""Metres, where one anchor is asked for."""


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """A graph over parties. ``parts``: by agent name, its role and node. ``build``: the graph from the agents."""

    name: str
    system: str
    parts: Mapping[str, tuple[str, str]]
    build: Callable[..., Any]
    asked: Mapping[str, Any]
    context: Mapping[str, Any] = field(default_factory=dict)


def scenarios(steps: int = 4) -> dict[str, Scenario]:
    """Every graph in its forms, asked for something small."""
    from aiflow.graphs import networked, serial

    pair = {"ins": ("ins", "phone"), "rec": ("rec", "laptop")}
    four = {"encoder": ("encoder", "camera"), "near": ("near", "laptop"), "far": ("far", "tablet")}
    four["fusion"] = ("fusion", "edge")
    five = {name: (name, node) for name, node in MODALITIES.items()}
    walk = {"segments": [["solo", 0], ["interaction", 16]], "frames": 40, "seed": 1, "steps": steps}
    walk["prompt"] = "person one waves while person two stands then they shake hands"
    move = {"prompt": "a red circle moving left on a dark background", "seed": 1, "steps": steps}
    rng = np.random.default_rng(0)
    image = {"image": rng.integers(0, 256, (48, 64, 3), dtype=np.uint8)}
    clip = {"depth": rng.uniform(-1, 1, (8, 3, 16, 16)).astype(np.float32)}

    def motion(refine: Any) -> Any:
        return lambda ins, rec, **how: serial(ins, rec, refine=refine, **how)

    def video(plan: Any) -> Any:
        def build(**parts: Any) -> Any:
            names = {name: parts.pop(name) for name in MODALITIES}
            backbones = [parts.pop(name) for name in ("backbone", "backbone2") if name in parts]
            return networked(backbones, names, plan=plan, **parts)

        return build

    one, two = {"backbone": ("backbone", "cloud")}, {"backbone2": ("backbone", "edge")}
    made = [
        Scenario(name="serial post", system="motion", parts=pair, build=motion("post"), asked=walk),
        Scenario(name="serial loop", system="motion", parts=pair, build=motion("loop"), asked=walk),
        Scenario(name="parallel", system="depth", parts=four, build=depth_graph(ANCHOR), asked={}, context=image),
        Scenario(name="parallel auto", system="depth", parts=four, build=depth_graph("auto"), asked={}, context=image),
        Scenario(
            name="networked home", system="video", parts=one | five, build=video("home"), asked=move, context=clip
        ),
        Scenario(
            name="networked owner", system="video", parts=one | five, build=video("owner"), asked=move, context=clip
        ),
        Scenario(
            name="networked cfg", system="video", parts=one | two | five, build=video("cfg"), asked=move, context=clip
        ),
    ]
    return {scenario.name: scenario for scenario in made}


def depth_graph(anchor: Any) -> Callable[..., Any]:
    """Builds the parallel graph with an anchor."""
    from aiflow.graphs import parallel

    return lambda encoder, near, far, fusion, **how: parallel(encoder, near, far, fusion, anchor=anchor, **how)


def new_party(system: str, role: str, folder: str) -> Any:
    """A party without memory, of weights that are shared."""
    held = pipeline(folder)
    if system == "motion":
        from aiflow.diffusion.motion.party import Composer, Refiner

        shared = held.text_encoder, held.tokenizer, held.scheduler
        return Composer(held.ins, *shared) if role == "ins" else Refiner(held.rec, *shared)
    if system == "depth":
        from aiflow.diffusion.depth.party import Encoder, Far, Fusion, Near

        makers: dict[str, Callable[[], Any]] = {
            "encoder": lambda: Encoder(held.encoder),
            "near": lambda: Near(held.near),
            "far": lambda: Far(held.far),
            "fusion": lambda: Fusion(held.config.anchors),
        }
        return makers[role]()
    from aiflow.diffusion.video.backbone import Backbone
    from aiflow.diffusion.video.party import Modality

    return Backbone(held) if role == "backbone" else Modality(role, held)


def worker(home: Deployment, system: str, role: str, folder: str, pace: Any = None, party: Any = None) -> Worker:
    """A party (by default one without memory) in a worker, at a node's pace."""
    held = new_party(system, role, folder) if party is None else party
    backend = DiffusionBackend.of(loaded(held, system, role), pace=pace)
    return Worker(backend, home.network.clock)


def place(home: Deployment, name: str, node: str, host: Any) -> Agent:
    """An agent on a host of one's own."""
    agent = Agent(name, host, home.network, node=node)
    home._agents[name] = agent
    return agent


@cache
def pipeline(folder: str) -> Any:
    """A pipeline whose weights all parties of this process share."""
    return load(folder)
