"""Runs a planned way with the agents' own abilities, and tells the planner what became of it. No choosing here."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, runtime_checkable

from aiflow.agents.interface import Asks
from aiflow.collaboration.planning.option import Option
from aiflow.errors import InputError
from aiflow.graphs.state import Record
from aiflow.graphs.workflows.planner import Planner
from aiflow.types import Answer, Message, Options


@runtime_checkable
class Shares(Asks, Protocol):
    """An agent that can share an inference, as ``aiflow.agents.Agent`` can."""

    network: Any

    async def split_infer(self, messages: Any, *, server: Any, **how: Any) -> Any:
        """Answers together with ``server``, which has the rest of the model."""

    async def speculative_decode(self, messages: Any, *, judges: Any, **arguments: Any) -> Any:
        """Drafts for ``judges``."""

    async def tofc_answer(self, image: Any, question: Any, *, server: Any, **how: Any) -> Any:
        """Sends ``server`` features of an image."""

    async def totals(self) -> Any:
        """What its worker has done so far."""


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A question on its way through a graph: its turns, how to generate, and seconds left (None: any)."""

    turns: tuple[Message, ...]
    options: Options | None
    deadline: float | None
    trace: list[Record] = field(default_factory=list)
    """To which a way of several steps adds its own."""


class Ways:
    """The modes by name, for one device, its servers and a team."""

    def __init__(self, device: Shares, servers: Sequence[Asks], team: Sequence[Asks] = ()) -> None:
        self.device = device
        self.agents: Mapping[str, Any] = {agent.name: agent for agent in (device, *servers, *team)}
        self._modes: dict[str, Callable[[Option, Asked], Awaitable[Answer]]] = {
            "on_device": self._ask,
            "server_only": self._ask,
            "split": self._split,
            "draft_verify": self._draft,
            "draft_verify_3": self._draft,
            "tofc": self._tofc,
            "collaborate": self._collaborate,
        }

    async def take(self, option: Option, asked: Asked) -> Answer:
        """The answer in the way of ``option``. Raises what the agents raise."""
        return await self._modes[option.mode](option, asked)

    async def _ask(self, option: Option, asked: Asked) -> Answer:
        agent: Asks = self.agents[option.parties[0]]
        return await agent.ask(asked.turns, sender=self.device.node, options=asked.options, deadline=asked.deadline)

    async def _split(self, option: Option, asked: Asked) -> Answer:
        found: Answer = await self.device.split_infer(
            asked.turns,
            server=self.agents[option.parties[1]],
            options=asked.options,
            deadline=asked.deadline,
            **option.parameters,
        )
        return found

    async def _draft(self, option: Option, asked: Asked) -> Answer:
        judges = [self.agents[name] for name in option.parties[1:]]
        found: Answer = await self.device.speculative_decode(
            asked.turns, judges=judges, options=asked.options, deadline=asked.deadline
        )
        return found

    async def _tofc(self, option: Option, asked: Asked) -> Answer:
        *before, last = asked.turns
        if len(last.images) != 1 or any(turn.images for turn in before):
            raise InputError(f"{len(last.images)} images in the last turn; this way sends the features of one.")
        found: Answer = await self.device.tofc_answer(
            last.images[0],
            [*before, replace(last, images=())],
            server=self.agents[option.parties[1]],
            options=asked.options,
            deadline=asked.deadline,
            **option.parameters,
        )
        return found

    async def _collaborate(self, option: Option, asked: Asked) -> Answer:
        from aiflow.graphs.workflows.device_server import device_server

        server, *team = (self.agents[name] for name in option.parties)
        select: Any = "all" if option.parameters["select"] == "all" else option.parameters["devices"]
        graph = device_server(server, team, select=select, revise=False, deadline=asked.deadline, options=asked.options)
        clock = self.device.network.clock
        began = clock.now()
        state = await graph.ainvoke({"messages": [turn.openai() for turn in asked.turns]})
        asked.trace.extend(state["trace"])
        used: dict[str, int] = {}
        for line in state["trace"]:
            for link, size in line["bytes"].items():
                used[link] = used.get(link, 0) + size
        return Answer(text=state["merged"], agent=server.name, seconds=clock.now() - began, bytes=used)


def learn(planner: Planner, option: Option, answer: Any, now: float, *, emulated: bool) -> None:
    """Tells the planner what an answer says of nodes and drafts, and of links where these take real time.

    On an emulated network the links are watched themselves (`Network.watchers`).
    """
    used = answer.usage
    if option.mode in ("on_device", "server_only"):
        name = option.parties[0]
        nominal = planner.unloaded(name).answering(used.prompt_tokens, used.completion_tokens)
        planner.computed(name, nominal, used.seconds, now)
        if option.mode == "server_only" and not emulated:
            _links(planner, name, answer, now)
    elif option.mode == "tofc":
        server = planner.unloaded(option.parties[1])
        planner.computed(
            server.name, server.answering(used.prompt_tokens, used.completion_tokens), answer.server_seconds, now
        )
    elif option.mode == "split":
        device, server_name = option.parties
        said = answer.tokens_by
        planner.judged_exit(option.parameters["exit"], said.get(device, 0), said.get(server_name, 0))
    elif option.mode in ("draft_verify", "draft_verify_3"):
        device, judge = option.parties[:2]
        refused = min(max(0, answer.judged - answer.accepted), answer.rounds.get(judge, 0))
        planner.judged(device, judge, answer.accepted, refused)
    for name in option.parties:
        planner.returned(name)


async def look(planner: Planner, ways: Ways, name: str) -> None:
    """Sends an agent a small message and asks what it has done meanwhile: is it there, how fast is the link to it?"""
    from aiflow.errors import AgentError
    from aiflow.graphs.workflows.planner import PROBE_BYTES

    device, agent = ways.device, ways.agents[name]
    network, sent = device.network, device.network.clock.now()
    limit = _limit(planner, device.name, name, PROBE_BYTES, sent)
    looking = asyncio.ensure_future(_echo(network, device.node, agent, PROBE_BYTES))
    alarm = asyncio.ensure_future(network.clock.sleep_until(sent + limit))
    try:
        await asyncio.wait({looking, alarm}, return_when=asyncio.FIRST_COMPLETED)
        if not looking.done():
            quiet(planner, device.name, name, sent, network.clock.now())
        await looking
    except AgentError as error:
        planner.lost(name, str(error))
    else:
        planner.returned(name)
        if not network.emulate:
            _attribute(
                planner,
                [(hop, PROBE_BYTES) for hop in planner.hops(device.name, name)],
                network.clock.now() - sent,
                network.clock.now(),
            )
    finally:
        alarm.cancel()
        looking.cancel()


def quiet(planner: Planner, source: str, target: str, since: float, now: float) -> bool:
    """Marks the first link of a route on which nothing has arrived since a moment as silent; whether there was one."""
    for hop in planner.hops(source, target):
        if planner.heard(*hop) < since:
            planner.silent(*hop, now)
            return True
    return False


async def _echo(network: Any, node: str, agent: Any, nbytes: int) -> None:
    await network.send(node, agent.node, nbytes)
    await agent.totals()
    await network.send(agent.node, node, 1)


def _limit(planner: Planner, source: str, target: str, nbytes: int, now: float) -> float:
    both = (*planner.hops(source, target), *planner.hops(target, source))
    return sum(planner.limit(*hop, nbytes, now) for hop in both)


def _links(planner: Planner, name: str, answer: Answer, now: float) -> None:
    """On a real network: what an answer took beside computing, shared among the links by what they carry."""
    device = planner.device.agent
    there, back = planner.hops(device, name), planner.hops(name, device)
    sizes = [(hop, answer.bytes.get(hop[0], 0) / 2) for hop in (*there, *back)]
    _attribute(planner, sizes, answer.seconds - answer.usage.seconds, now)


def _attribute(planner: Planner, sizes: list[tuple[tuple[str, bool], float]], seconds: float, now: float) -> None:
    expected = [planner.expected(*hop, size) for hop, size in sizes]
    if seconds <= 0 or not expected:
        return
    for (hop, size), share in zip(sizes, expected, strict=True):
        planner.transferred(*hop, size, seconds * share / sum(expected), now)
