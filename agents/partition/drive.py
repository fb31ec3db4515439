"""Several agents that hold the blocks of one model, as an agent that can be asked (`agents.interface.Asks`)."""

import asyncio
import secrets
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from aiflow import aio
from aiflow.agents.deadline import Deadline
from aiflow.agents.options import merge
from aiflow.agents.partition.events import Staged
from aiflow.agents.partition.pool import How, Pool
from aiflow.agents.spent import Purse, Spent
from aiflow.clock import VirtualClock
from aiflow.errors import AgentError, AiflowError, BackendError, BudgetError, InputError, UnfinishedError
from aiflow.types import Answer, Delta, Options, Usage, conversation

if TYPE_CHECKING:
    from langchain_core.tools import BaseTool

    from aiflow.agents.agent import Agent
    from aiflow.agents.backends.transformers.requests import Request
    from aiflow.agents.partition.run import Run
    from aiflow.collaboration.partition.client import Client
    from aiflow.collaboration.partition.cut import Cut


def partitioned(
    agents: "Sequence[Agent]",
    *,
    name: str = "partition",
    about: str = "",
    node: str | None = None,
    options: Options | Mapping[str, Any] | None = None,
    patience: float = 10.0,
    rebalance: bool = False,
    tokens: int = 1024,
    sessions: int = 4,
    prompt: int = 64,
    answer: int = 64,
) -> "Partitioned":
    """One model over ``agents``, each of a model ``blocks:...``: cut by their memory, speed and links at the first ask.

    Args:
        agents: all of the same model; some may get no blocks.
        name, about: of the whole, as an agent.
        node: where it is asked from by default (the first agent's); the token history is held by the asker.
        options: defaults for generation.
        patience: seconds beyond its usual time after which a silent agent is lost; the model is then cut anew over
            the others, and the answer goes on from the token history.
        rebalance: an agent that has come back is used at once; else from the next request on that finds none running.
        tokens: of prompt and answer that a request may have, for which the stages keep room.
        sessions: requests at once, for which they keep room; more wait.
        prompt, answer: tokens of the requests for which the cut is to be best.

    Raises:
        InputError: for agents that cannot be together, TopologyError for an unknown node.
    """
    from aiflow.collaboration.partition.cut import Task

    team = list(agents)
    if not team or len({id(agent) for agent in team}) < len(team):
        raise InputError(f"{len(team)} agents: give at least one, and each once.")
    for agent in team:
        if agent.network is not team[0].network:
            raise InputError("the agents belong to different deployments; connect them in one topology.")
        if not str(agent.facts.get("model", "")).startswith("blocks:"):
            raise InputError(
                f"agent {agent.name!r} holds a whole model ({agent.facts.get('model')!r}); "
                "give it a model such as 'blocks:aiflow:nano/base'."
            )
    for value, what in ((tokens, "tokens"), (sessions, "sessions"), (answer, "answer")):
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise InputError(f"{what}={value!r} is not usable; give an int >= 1.")
    if not patience > 0:
        raise InputError(f"patience={patience!r} is not usable; give seconds above 0.")
    where = team[0].node if node is None else node
    for agent in team:
        agent.network.route(where, agent.node)  # raises TopologyError
    task = Task(prompt=prompt, answer=answer, cached=tokens * sessions)
    how = How(patience=patience, rebalance=rebalance, tokens=tokens, sessions=sessions, task=task)
    return Partitioned(name, team, where, about, merge(Options(), options), how)


class Partitioned:
    """Made by `partitioned`. Ask it as an agent; ``cut`` says who holds what."""

    def __init__(self, name: str, agents: "Sequence[Agent]", node: str, about: str, options: Options, how: How) -> None:
        self.name, self.node, self.about, self.options = name, node, about, options
        self.agents = tuple(agents)
        self.network = agents[0].network
        self.pool = Pool(agents, node, how)
        self._room = asyncio.Semaphore(how.sessions)
        self._purse = Purse()

    def __repr__(self) -> str:
        return f"Partitioned({self.name!r}, {', '.join(agent.name for agent in self.agents)})"

    @property
    def cut(self) -> "Cut | None":
        """Who holds which blocks; None before the first ask. ``cut.table()`` explains it."""
        return self.pool.cut

    @property
    def absent(self) -> Mapping[str, str]:
        """Agents that do not answer, and why that is known."""
        return dict(self.pool.absent)

    @property
    def spent(self) -> Spent:
        """What its answers have cost so far."""
        return self._purse.total()

    async def ready(self, deadline: float = 900.0) -> None:
        """Cuts the model and loads its blocks. Raises BudgetError, UnfinishedError, AgentDiedError, DeadlineError."""
        self.pool.active += 1
        try:
            async with Deadline(deadline, self.network.clock, self.name, "load").limit():
                await self._begin()
        finally:
            self._end_one()

    async def ask(
        self,
        messages: Any,
        *,
        sender: str | None = None,
        options: Options | Mapping[str, Any] | None = None,
        deadline: float | None = None,
    ) -> Staged:
        """The whole answer; see `Agent.ask`.

        Raises InputError, TopologyError, BudgetError where the model does not fit the agents, AgentDiedError where none
        answers, DeadlineError; UnfinishedError where what is left of the agents cannot go on, with the answer so far.
        """
        stream = self.stream(messages, sender=sender, options=options, deadline=deadline)
        async with aclosing(stream) as items:
            async for item in items:
                if isinstance(item, Staged):
                    return item
        raise BackendError("partitioned inference ended without an answer")

    async def stream(
        self,
        messages: Any,
        *,
        sender: str | None = None,
        options: Options | Mapping[str, Any] | None = None,
        deadline: float | None = None,
    ) -> AsyncGenerator[Delta | Staged]:
        """Like ``ask``, in pieces; the answer last. What was said stands, whatever happens to a stage."""
        from aiflow.agents.backends.transformers.requests import Mailbox, Request
        from aiflow.agents.partition import words

        source = self.node if sender is None else sender
        self.network.route(source, self.node)  # raises TopologyError
        request = Request(conversation(messages), merge(self.options, options), Mailbox())
        clock = self.network.clock
        limit, began = Deadline(deadline, clock, self.name), clock.now()
        async with limit.limit():
            await self._room.acquire()
        run: Run | None = None
        self.pool.active += 1
        try:
            async with limit.limit():
                await self._begin()
                facts = self.agents[0].facts
                simulated = isinstance(clock, VirtualClock)  # knows no threads
                known = words.of(facts) if simulated else await asyncio.to_thread(words.of, facts)
            run, client = self._run(known, request, source)
            while request.finish is None:
                try:
                    async with limit.limit():
                        told = await run.token()
                except AiflowError as error:
                    raise self._unfinished(error, request, run, client, began) from error
                assert told.token is not None
                if text := request.push(told.token, list(told.ranked)):
                    yield Delta(text=text)
            run.leave()
            yield self._record(self._answer(request, run, client, began))
            run = None
        finally:
            self._room.release()
            if run is not None:
                run.leave()
            self._end_one()

    def ask_sync(self, messages: Any, **arguments: Any) -> Answer:
        """``ask`` for synchronous code (arguments as there)."""
        return aio.run(self.ask(messages, **arguments))

    def stream_sync(self, messages: Any, **arguments: Any) -> Iterator[Delta | Staged]:
        """``stream`` for synchronous code (arguments as there)."""
        stream = self.stream(messages, **arguments)
        try:
            while (item := aio.run(anext(stream, None))) is not None:
                yield item
        finally:
            aio.run(stream.aclose())

    def tools(self, sender: str | None = None) -> "list[BaseTool]":
        """``ask_<name>`` as a LangChain tool."""
        from aiflow.agents.tools import ask_tool

        asked: Any = self
        return [ask_tool(asked, sender)]

    def _end_one(self) -> None:
        self.pool.active -= 1
        if not self.pool.active:
            self.pool.idle()

    async def _begin(self) -> None:
        try:
            await self.pool.begin()
        except BudgetError as error:
            if not self.pool.absent:
                raise
            raise UnfinishedError(_end(0, error, self.absent), self.name, Staged(text="", agent=self.name)) from error

    def _run(self, known: Any, request: "Request", source: str) -> "tuple[Run, Client]":
        from aiflow.agents.partition.run import Run
        from aiflow.collaboration.partition.client import Client
        from aiflow.collaboration.partition.wire import Law

        options = request.options
        seed = secrets.randbits(62) if options.seed is None else options.seed
        known.start(request, self.pool.context, seed)
        law = Law(temperature=options.temperature, top_p=options.top_p, seed=seed, top=options.top_logprobs)
        vocabulary = next(iter(self.pool.abouts.values())).vocabulary
        client = Client(secrets.token_hex(8), request.prompt.ids, law, vocabulary=vocabulary)
        return Run(self.pool, client, source), client

    def _answer(self, request: "Request", run: "Run", client: "Client", began: float) -> Staged:
        said = request.answer()
        usage = Usage(
            requests=1,
            prompt_tokens=client.start,
            completion_tokens=len(client.said),
            seconds=client.micros / 1e6,
        )
        return Staged(
            text=said.text,
            finish=said.finish,
            usage=usage,
            agent=self.name,
            seconds=self.network.clock.now() - began,
            bytes=dict(run.crossed),
            logprobs=said.logprobs,
            stages=run.stages,
            epochs=client.epoch + 1,
            recoveries=tuple(run.recoveries),
            hidden=dict(run.hidden),
        )

    def _unfinished(
        self, error: AiflowError, request: "Request", run: "Run", client: "Client", began: float
    ) -> AiflowError:
        """With the answer so far, if a stage is gone for good or anything was said."""
        if not client.said and not self.pool.absent:
            return error
        if isinstance(error, AgentError) and error.agent == self.name:
            return error  # the asker's own deadline
        return UnfinishedError(
            _end(len(client.said), error, self.absent), self.name, self._answer(request, run, client, began)
        )

    def _record(self, answer: Staged) -> Staged:
        self._purse.add(answer)
        return answer


def _end(said: int, error: AiflowError, absent: Mapping[str, str]) -> str:
    told = "; ".join(f"{name}: {why}" for name, why in absent.items()) or "all agents answer"
    return f"after {said} tokens the answer cannot go on: {error} ({told[:400]})"
