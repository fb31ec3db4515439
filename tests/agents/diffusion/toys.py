"""Parties without weights that speak the real messages, and agents that hold them: for tests of how messages move."""

from typing import Any

import numpy as np

from aiflow.agents.agent import Agent
from aiflow.agents.backends.diffusion import DiffusionBackend
from aiflow.agents.deployment import Deployment
from aiflow.agents.diffusion.parties import loaded
from aiflow.agents.host import Host, LocalHost
from aiflow.agents.worker import Worker
from aiflow.diffusion.messages import decode, encode
from aiflow.diffusion.motion.party import Compose, Estimate, Motion, Refined
from aiflow.errors import InputError

HOME = """
nodes: {phone: device, laptop: device, tablet: device, watch: device, camera: device, hub: edge}
links:
  - {between: [device, edge], rate: 1 MB/s, rtt: 20 ms}
"""


def agent(cluster: Deployment, name: str, node: str, party: Any, system: str, role: str, *, pace: Any = None) -> Agent:
    """An agent of a party in this process."""
    worker = Worker(DiffusionBackend.of(loaded(party, system, role), pace=pace), cluster.network.clock)
    return place(cluster, name, node, LocalHost(worker))


def place(cluster: Deployment, name: str, node: str, host: Host) -> Agent:
    """An agent on any host."""
    made = Agent(name, host, cluster.network, node=node)
    cluster._agents[name] = made
    return made


class Composer:
    """Numbers from the seed; each round of refinement adds what the refiner said."""

    def __init__(self) -> None:
        self.calls = 0
        self.on_step: Any = None

    def handle(self, payload: bytes) -> bytes:
        self.calls += 1
        asked = decode(payload, Compose, Refined)
        if isinstance(asked, Refined):
            if asked.last:
                return encode(self._motion(asked, asked.u_hat))
            return encode(self._estimate(asked, asked.step + 1, asked.u_hat * 0.5))
        if not asked.prompt.strip():
            raise InputError("the text is empty")
        u = np.random.default_rng(asked.seed).standard_normal((2, asked.frames, 262)).astype(np.float32)
        for step in range(asked.steps):
            if self.on_step:
                self.on_step(asked.request, step + 1, asked.steps)
        if asked.refine == "none":
            return encode(self._motion(asked, u))
        return encode(self._estimate(asked, asked.steps if asked.refine == "post" else 1, u))

    @staticmethod
    def _estimate(asked: Any, step: int, u: Any) -> Estimate:
        said = {name: getattr(asked, name) for name in Compose.model_fields}
        last = step == asked.steps
        return Estimate(
            **said, step=step, last=last, noise=0, u_hat=u, noisy=np.zeros((0, asked.frames, 262), np.float32),
            model="m", schedule="s",
        )  # fmt: skip

    @staticmethod
    def _motion(asked: Any, u: Any) -> Motion:
        refiner = asked.refiner if isinstance(asked, Refined) else ""
        return Motion(request=asked.request, u=u, frames=asked.frames, refine=asked.refine, model="m", refiner=refiner)


class Refiner:
    """Adds one."""

    def __init__(self) -> None:
        self.calls = 0

    def handle(self, payload: bytes) -> bytes:
        self.calls += 1
        asked = decode(payload, Estimate)
        said = {name: getattr(asked, name) for name in Compose.model_fields}
        return encode(
            Refined(
                **said,
                step=asked.step,
                last=asked.last,
                u_hat=asked.u_hat + 1,
                noisy=asked.noisy,
                model=asked.model,
                refiner="r",
                schedule=asked.schedule,
            )
        )
