"""How a video is sampled over nodes: plan ``home``, or ``cfg``, in which two backbones share the guidance.

The asker's side of `aiflow.diffusion.video.wire`: it knows who is there and who is not, no latents and no models. Plan
``owner`` is in ``owner``.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from aiflow.agents.diffusion.crew import Crew
from aiflow.agents.diffusion.line import Held, Line
from aiflow.errors import AgentError, MessageError

if TYPE_CHECKING:
    from aiflow.agents.agent import Agent
    from aiflow.diffusion.messages import Message
    from aiflow.diffusion.video.wire import State

Name = Literal["home", "owner", "cfg"]


@dataclass(frozen=True, kw_only=True)
class Task:
    """What is to be made; ``run`` names this attempt at it."""

    run: str
    prompt: str
    roles: Mapping[str, str]
    seed: int
    steps: int
    guidance: float
    staleness: int

    @property
    def generated(self) -> list[str]:
        """The modalities that are to be made."""
        return [name for name, role in self.roles.items() if role == "generate"]


class Lost(Exception):
    """A backbone is gone, or has forgotten the run: it must be begun anew."""

    def __init__(self, agent: "Agent", error: Exception) -> None:
        super().__init__(f"{agent.name}: {type(error).__name__}: {error}")
        self.agent, self.error = agent, error


class Home:
    """The backbone has all latents that are generated; conditions come once, what is finished goes once."""

    name: Name = "home"

    def __init__(self, crew: Crew, line: Line, task: Task) -> None:
        self.crew, self.line, self.task = crew, line, task

    async def sample(self, backbones: "Sequence[Agent]", given: Mapping[str, Held]) -> "tuple[Agent, State]":
        """All steps; the backbone that has the result, and its state. Raises Lost, InputError, MessageError."""
        agent = backbones[0]
        state = await self.start(agent, given)
        for step in range(self.task.steps if self.task.generated else 0):
            state = await self.advance(agent, step)
            self.told(agent, state)
        return agent, state

    async def collect(self, agent: "Agent") -> dict[str, Held]:
        """What is finished, by modality; it stays with the modalities' nodes. Raises Lost."""
        from aiflow.diffusion.video.wire import Collect

        async def one(name: str) -> Held | None:
            asked = Collect(request=self.task.run, modality=name, step=self.task.steps)
            latents = await self.lift(agent, await self.ask(agent, asked))
            return await self.deliver(self.crew.teams[name], latents, f"its {name} cannot be decoded")

        made = await asyncio.gather(*(one(name) for name in self.task.generated))
        return {name: held for name, held in zip(self.task.generated, made, strict=True) if held is not None}

    async def start(self, agent: "Agent", given: Mapping[str, Held], half: Any = "") -> "State":
        """Hands a backbone the conditions and begins. Raises Lost, InputError, MessageError (of another model)."""
        from aiflow.diffusion.messages import decode, encode
        from aiflow.diffusion.video.wire import Start, State

        task = self.task
        try:
            card = await self.line.card(agent, steps=task.steps)
            await asyncio.gather(*(self.line.call(agent, latents) for latents in given.values()))
            known = card.about.get("modalities", "").split(",")
            roles: Any = dict.fromkeys((name for name in known if name), "idle") | dict(task.roles)
            shape = next((list(held.shapes["latents"][1:]) for held in given.values()), card.shape)
            start = Start(
                request=task.run,
                model=card.model,
                schedule=card.schedule,
                prompt=task.prompt,
                roles=roles,
                plan=self.name,
                seed=task.seed,
                steps=task.steps,
                guidance=task.guidance,
                shape=shape,
                half=half,
                staleness=task.staleness,
            )
            held = await self.line.call(agent, encode(start), bring=True)
        except AgentError as error:
            raise Lost(agent, error) from error
        assert held.data is not None
        return decode(held.data, State)

    async def advance(self, agent: "Agent", step: int, missing: Sequence[str] = ()) -> "State":
        """One step of a backbone. Raises Lost."""
        from aiflow.diffusion.messages import decode
        from aiflow.diffusion.video.wire import Advance, State

        asked = Advance(request=self.task.run, step=step, missing=list(missing))
        held = await self.ask(agent, asked, bring=True)
        assert held.data is not None
        return decode(held.data, State)

    async def ask(self, agent: "Agent", message: "Message", *, bring: bool = False, fresh: bool = False) -> Held:
        """A message of the asker's own to a backbone in the middle of a run. Raises Lost."""
        from aiflow.diffusion.messages import encode

        return await self.give(agent, encode(message), bring=bring, fresh=fresh)

    async def give(self, agent: "Agent", source: bytes | Held, *, bring: bool = False, fresh: bool = False) -> Held:
        """Any message to a backbone in the middle of a run. Raises Lost."""
        try:
            return await self.line.call(agent, source, bring=bring, fresh=fresh)
        except (AgentError, MessageError) as error:
            raise Lost(agent, error) from error

    async def lift(self, agent: "Agent", held: Held) -> Held:
        """Gets what a backbone holds. Raises Lost."""
        try:
            return await self.line.lift(held)
        except (AgentError, MessageError) as error:
            raise Lost(agent, error) from error

    async def deliver(self, team: "Agent | Sequence[Agent]", source: bytes | Held, otherwise: str) -> Held | None:
        """Something for a modality's node; None, and a mark, if it cannot be reached or has forgotten the run."""
        try:
            return await self.line.call(team, source, deadline=self.crew.grace)
        except (AgentError, MessageError) as error:
            name = getattr(error, "agent", "") or (team[0] if isinstance(team, Sequence) else team).name
            self.line.mark(name, f"{type(error).__name__}: {error}; {otherwise}")
            return None

    def told(self, agent: "Agent", state: "State") -> None:
        """Tells whoever listens of a step."""
        self.line.tell({"agent": agent.name, "node": agent.node, "step": state.step, "steps": state.steps})


class Cfg(Home):
    """Two backbones compute a half of the guidance each and swap them at every step; one goes on alone for both."""

    name: Name = "cfg"

    async def sample(self, backbones: "Sequence[Agent]", given: Mapping[str, Held]) -> "tuple[Agent, State]":
        """As ``home``. Raises Lost if both are gone."""
        pair = list(zip(backbones, ("text", "empty"), strict=True))
        found = await asyncio.gather(*(self._kept(a, self.start(a, given, half)) for a, half in pair))
        alive = [agent for agent, state in zip(backbones, found, strict=True) if state]
        state = next((one for one in found if one), None)
        if state is None:
            raise self.failure
        for step in range(self.task.steps if self.task.generated else 0):
            alive, state = await self._step(alive, step)
            self.told(alive[0], state)
        return alive[0], state

    async def _step(self, alive: "Sequence[Agent]", step: int) -> "tuple[list[Agent], State]":
        if len(alive) == 2:
            halves = await asyncio.gather(*(self._kept(agent, self._half(agent, step)) for agent in alive))
            a, b = alive
            if halves[0] and halves[1]:
                swaps = (self._kept(a, self._swap(a, halves[1])), self._kept(b, self._swap(b, halves[0])))
                states = await asyncio.gather(*swaps)
                done = [(agent, state) for agent, state in zip(alive, states, strict=True) if state]
                if done:
                    return [agent for agent, _ in done], done[0][1]
                raise self.failure
            alive = [agent for agent, half in zip(alive, halves, strict=True) if half]
        if not alive:
            raise self.failure
        return list(alive), await self.advance(alive[0], step, ["half"])

    async def _half(self, agent: "Agent", step: int) -> Held:
        from aiflow.diffusion.video.wire import Advance

        return await self.lift(agent, await self.ask(agent, Advance(request=self.task.run, step=step)))

    async def _swap(self, agent: "Agent", half: Held) -> "State":
        from aiflow.diffusion.messages import decode
        from aiflow.diffusion.video.wire import State

        held = await self.give(agent, half, bring=True)
        assert held.data is not None
        return decode(held.data, State)

    async def _kept(self, agent: "Agent", work: Any) -> Any:
        """What a backbone does; None, and a mark, if it is lost: the other goes on alone."""
        try:
            return await work
        except Lost as error:
            self.failure = error
            self.line.mark(agent, f"{type(error.error).__name__}: {error.error}; the other backbone goes on alone")
            return None
