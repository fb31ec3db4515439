"""Plan ``owner``: every generating node keeps its latents and its scheduler; latents and velocities cross at each step.

A node that is silent is gone on without, by what the backbone last predicted for it; when it is back, it gets its
latents from there. The asker's side; knows no latents and no models.
"""

import asyncio
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from aiflow.agents.diffusion.line import Held
from aiflow.agents.diffusion.plans import Home, Name
from aiflow.errors import AgentError, MessageError

if TYPE_CHECKING:
    from aiflow.agents.agent import Agent
    from aiflow.diffusion.video.wire import State


class Owner(Home):
    """Per step and generating node: its latents to the backbone, a velocity back."""

    name: Name = "owner"

    async def sample(self, backbones: "Sequence[Agent]", given: Mapping[str, Held]) -> "tuple[Agent, State]":
        """All steps; the backbone and its state. Raises Lost, InputError, MessageError."""
        agent, task = backbones[0], self.task
        self.nodes = {name: self.crew.teams[name][0] for name in task.generated}
        self.held: dict[str, Held | None] = dict.fromkeys(task.generated)
        self.tries = dict.fromkeys(task.generated, 0)
        self.away = dict.fromkeys(task.generated, 0)
        state = await self.start(agent, given)
        shape = await self._shape(agent, given)
        await asyncio.gather(*(self._begin(name, shape) for name in task.generated))
        for step in range(task.steps if task.generated else 0):
            await asyncio.gather(*(self._offer(agent, name, step) for name in task.generated))
            missing = [name for name, held in self.held.items() if held is None]
            state = await self.advance(agent, step, missing)
            self.told(agent, state)
            await asyncio.gather(*(self._move(agent, name, step) for name in task.generated))
        return agent, state

    async def collect(self, agent: "Agent") -> dict[str, Held]:
        """The clips that the nodes have made; a node that is back only now decodes what went on without it."""

        async def one(name: str) -> Held | None:
            held = self.held[name]
            if held is None and (latents := await self._return(agent, name, self.task.steps)) is not None:
                held = await self.deliver(self.nodes[name], latents, f"there is no {name}")
            return held

        made = await asyncio.gather(*(one(name) for name in self.task.generated))
        return {name: held for name, held in zip(self.task.generated, made, strict=True) if held is not None}

    async def _shape(self, agent: "Agent", given: Mapping[str, Held]) -> list[int]:
        for held in given.values():
            return list(held.shapes["latents"][1:])
        return (await self.line.card(agent, steps=self.task.steps)).shape

    async def _begin(self, name: str, shape: list[int]) -> None:
        from aiflow.diffusion.messages import encode
        from aiflow.diffusion.video.wire import Begin

        begin = Begin(request=self.task.run, seed=self.task.seed, steps=self.task.steps, shape=shape)
        self.held[name] = await self.deliver(self.nodes[name], encode(begin), f"{name} begins without its node")

    async def _offer(self, agent: "Agent", name: str, step: int) -> None:
        """A node's latents of this step to the backbone; first it is looked for, if it was away. Raises Lost."""
        held = self.held[name]
        if held is None:
            self.away[name] += 1
            if self.away[name] < 2 ** self.tries[name]:  # after 1, 2, 4, 8... steps
                return
            self.tries[name] += 1
            held = await self._return(agent, name, step)
        if held is None:
            return
        try:
            self.held[name] = await self.line.lift(held)
        except (AgentError, MessageError) as error:
            self.line.mark(self.nodes[name], f"{type(error).__name__}: {error}; step {step} goes on without its {name}")
            self.held[name] = None
            return
        await self.give(agent, self.held[name])  # type: ignore[arg-type]

    async def _move(self, agent: "Agent", name: str, step: int) -> None:
        """A velocity from the backbone to a node, which moves on. Raises Lost."""
        from aiflow.diffusion.video.wire import Collect

        if self.held[name] is None:
            return
        asked = Collect(request=self.task.run, modality=name, step=step + 1)
        velocity = await self.lift(agent, await self.ask(agent, asked))
        self.held[name] = await self.deliver(self.nodes[name], velocity, f"{name} goes on without its node")
        if self.held[name] is None:
            self.away[name] = self.tries[name] = 0

    async def _return(self, agent: "Agent", name: str, step: int) -> Held | None:
        """The latents of a node that is back, or of a replica of it, from the backbone's snapshot. Raises Lost."""
        from aiflow.diffusion.video.wire import Snapshot

        for node in self.crew.teams[name]:
            try:
                await self.line.card(node, deadline=self.crew.grace)
            except AgentError:
                continue
            asked = Snapshot(request=self.task.run, modality=name)
            snapshot = await self.lift(agent, await self.ask(agent, asked, fresh=True))
            held = await self.deliver(node, snapshot, f"{name} is not restored")
            if held is not None:
                self.nodes[name] = node
                self.line.mark(node, f"restored {name} at step {step} from a snapshot")
                return held
        return None
