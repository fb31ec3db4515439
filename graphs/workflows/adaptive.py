"""A LangGraph graph that plans each question anew and answers it in the planned way: ``plan -> answer``.

The planner chooses from what it has observed; the agents' own abilities do the work. A way that is late or fails is not
waited for: another one is planned without it and tried beside it, and the first answer counts. The device by itself is
the last resort where nothing else has answered by the deadline.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Any, NotRequired

from langchain_core.messages import AIMessage
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.config import get_config
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.graph.state import CompiledStateGraph

from aiflow.agents.interface import Asks
from aiflow.collaboration.planning.option import Option, Plan
from aiflow.collaboration.planning.task import Task, Wish
from aiflow.errors import InputError, UsageError
from aiflow.graphs.blocks.node import Update, node
from aiflow.graphs.state import State, record
from aiflow.graphs.workflows.collaboration import Loads
from aiflow.graphs.workflows.planner import Planner
from aiflow.graphs.workflows.race import Race
from aiflow.graphs.workflows.ways import Asked, Shares, Ways, look
from aiflow.types import Message, Options, conversation

CHARACTERS = 4
"""Of a token, where nobody counts them."""
_background: "set[asyncio.Task[None]]" = set()


class AdaptiveState(State, total=False):
    """The state of a graph that plans; ``plan`` is small JSON: the way taken, what was expected and what it took."""

    plan: NotRequired[dict[str, Any]]


def adaptive(
    planner: Planner,
    device: Shares,
    servers: Sequence[Asks],
    *,
    team: Sequence[Asks] = (),
    quality: Wish = "best",
    deadline: float | None = None,
    exact: bool = False,
    options: Options | None = None,
    output_tokens: int = 128,
    count: Callable[[str], int] | None = None,
    checkpointer: BaseCheckpointSaver[Any] | bool | None = None,
    name: str = "adaptive",
) -> CompiledStateGraph[AdaptiveState, None, Any, AdaptiveState]:
    """Builds the graph from ``{"messages": [...]}`` to an ``AdaptiveState``; the last message is the answer.

    A run may override the wish by ``config={"configurable": {"quality": ..., "deadline": ..., "exact": ...}}``.

    Args:
        planner: whose device and servers have the names of these agents; it goes on learning over all runs.
        quality, deadline, exact: what is wished of answers, as for `Task`.
        options: how agents generate; None: each agent's own.
        output_tokens: expected of an answer; at most ``options.max_tokens`` are planned with.
        count: the tokens of a text; None: a quarter of its characters.
        checkpointer: as for ``StateGraph.compile``.

    Raises UsageError here, for agents that the planner does not know; InputError from a run, for a question or a wish
    that cannot be met; what the last agent raised, if all fail.
    """
    known = {planner.device.agent, *(p.agent for p in (*planner.servers, *planner.team))}
    for agent in (device, *servers, *team):
        if agent.name not in known:
            raise UsageError(
                f"the planner does not know agent {agent.name!r}; it plans for {', '.join(sorted(known))}."
            )
    if device.name != planner.device.agent:
        raise UsageError(f"the planner plans for the device {planner.device.agent!r}, not for {device.name!r}.")
    wish = {"quality": quality, "deadline": deadline, "exact": exact}
    Task(prompt_tokens=1, **wish)  # type: ignore[arg-type]  # raises InputError
    steps = _Steps(planner, Ways(device, servers, team), wish, options, output_tokens, count)
    graph: StateGraph[AdaptiveState, None, Any, AdaptiveState] = StateGraph(AdaptiveState, input_schema=MessagesState)
    graph.add_node("plan", node(steps.plan))
    graph.add_node("answer", node(steps.answer))
    graph.add_edge(START, "plan")
    graph.add_edge("plan", "answer")
    graph.add_edge("answer", END)
    return graph.compile(checkpointer, name=name)


class _Steps:
    """The two nodes."""

    def __init__(
        self,
        planner: Planner,
        ways: Ways,
        wish: dict[str, Any],
        options: Options | None,
        output_tokens: int,
        count: Callable[[str], int] | None,
    ) -> None:
        self._planner, self._ways, self._wish, self._options = planner, ways, wish, options
        self._output = output_tokens if options is None else min(output_tokens, options.max_tokens)
        self._count = count or (lambda text: max(1, len(text) // CHARACTERS))
        self._clock, self._waiting = ways.device.network.clock, True
        planner.watch(ways.device.network)

    async def plan(self, state: AdaptiveState) -> Update:
        """Chooses, and looks after servers of which nothing has been heard for a while."""
        await self._loaded()
        started, now = time.time(), self._clock.now()
        turns = self._question(state)
        plan = self._planner.plan(self._task(turns), now)
        for name in self._planner.probes(now):
            if name != self._ways.device.name:
                task = asyncio.ensure_future(look(self._planner, self._ways, name))
                _background.add(task)
                task.add_done_callback(_ended)
        line = record("plan", self._ways.device, started, note=f"{title(plan.chosen)}: {plan.reason}")
        return {"plan": shown(plan), "trace": [line], "answers": {}, "finals": {}, "merged": "", "selected": []}

    async def answer(self, state: AdaptiveState) -> Update:
        """Answers in the planned way, or in another where that is late or fails."""
        turns = self._question(state)
        task, chosen = self._task(turns), self._chosen(state)
        asked = Asked(turns=turns, options=self._configured("options", self._options), deadline=task.deadline)
        race = Race(self._planner, self._ways, task, asked)
        answer, option = await race.run(chosen)
        plan = {**state["plan"], "taken": title(option), "seconds": answer.seconds, "tries": race.tries}
        return {
            "messages": [AIMessage(answer.text, name=option.parties[0])],
            "merged": answer.text,
            "plan": plan,
            "trace": state["trace"] + race.trace,
        }

    async def _loaded(self) -> None:
        """Waits, once, for models that load: no patience counts that. Failures show when they are asked."""
        if self._waiting:
            waits = [agent.ready() for agent in self._ways.agents.values() if isinstance(agent, Loads)]
            await asyncio.gather(*waits, return_exceptions=True)
            self._waiting = False

    def _question(self, state: AdaptiveState) -> tuple[Message, ...]:
        turns = conversation(state["messages"])
        if turns[-1].role != "user":
            raise InputError("the last message is not the user's; end the messages with a question.")
        return turns

    def _task(self, turns: Sequence[Message]) -> Task:
        wish = {name: self._configured(name, default) for name, default in self._wish.items()}
        return Task(
            prompt_tokens=max(1, sum(self._count(turn.text) for turn in turns if turn.text)),
            output_tokens=self._output,
            image_bytes=tuple(len(image.data) for turn in turns for image in turn.images),
            **wish,
        )

    def _chosen(self, state: AdaptiveState) -> Option:
        """The option of the plan in the state: it is JSON there, so that a checkpoint can keep it."""
        plan = state["plan"]
        return Option(
            mode=plan["mode"],
            parties=tuple(plan["parties"]),
            parameters=plan["parameters"],
            seconds=plan["expected"],
            slow=plan["slow"],
            quality=plan["quality"],
            exact=plan["exact"],
        )

    def _configured(self, name: str, default: Any) -> Any:
        return get_config().get("configurable", {}).get(name, default)


def shown(plan: Plan) -> dict[str, Any]:
    """A plan as small JSON."""
    chosen = plan.chosen
    return {
        "mode": chosen.mode,
        "parties": list(chosen.parties),
        "parameters": dict(chosen.parameters),
        "expected": chosen.seconds,
        "slow": chosen.slow,
        "quality": chosen.quality,
        "exact": chosen.exact,
        "reason": plan.reason,
        "late": plan.late,
        "waits": plan.waits,
    }


def title(option: Option) -> str:
    """An option in words: ``split phone > cloud (exit 2, transport ids)``."""
    words = ", ".join(f"{name} {value}" for name, value in option.parameters.items())
    return f"{option.mode} {' > '.join(option.parties)}" + (f" ({words})" if words else "")


def _ended(task: "asyncio.Task[None]") -> None:
    _background.discard(task)
    if not task.cancelled():
        task.exception()  # a look that fails for another reason than the agent's interests nobody
