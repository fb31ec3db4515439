"""Every agent and every graph of a configuration as a tool with a name, a schema and an answer. Knows no protocol.

The agents are started in the background, so that who connects need not wait for Ray before it hears anything.
"""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from aiflow.agents.deployment import Deployment
from aiflow.agents.spent import bill
from aiflow.agents.tools import tool_name
from aiflow.cluster.data import topology_data
from aiflow.errors import AiflowError, DeadlineError, InputError, UsageError
from aiflow.serve import refusal
from aiflow.serve.config import Allowance, Config
from aiflow.serve.limits import Desk
from aiflow.serve.logs import log
from aiflow.serve.models import GraphModel, Model
from aiflow.serve.opening import open_models
from aiflow.serve.status import Census
from aiflow.types import Message

QUESTION: Mapping[str, Any] = {
    "type": "object",
    "properties": {
        "question": {"type": "string", "description": "The question, complete in itself: nothing else is seen."}
    },
    "required": ["question"],
    "additionalProperties": False,
}
RESOURCES = {
    "aiflow://topology": "Nodes by tier, and the links between them.",
    "aiflow://status": "How nodes, links and agents are now, and what agents did so far.",
}


@dataclass(frozen=True, kw_only=True)
class Tool:
    """Something that can be called: ``call`` takes arguments as ``schema`` says and gives the text of the answer."""

    name: str
    about: str
    schema: Mapping[str, Any]
    call: Callable[[Mapping[str, Any]], Awaitable[str]]


@dataclass(frozen=True, kw_only=True)
class Result:
    """What came of a call: the answer, or in the gateway's words why there is none."""

    text: str
    failed: bool = False


class Toolbox:
    """The tools of a configuration, from ``open`` to ``close``."""

    def __init__(self, config: Config, *, log_prompts: bool = False) -> None:
        self._config, self._log_prompts = config, log_prompts
        self._desk = Desk(config.limits.concurrency)
        self._opening: asyncio.Future[tuple[Deployment, dict[str, Tool], Census]] | None = None

    def open(self) -> None:
        """Begins to start the agents; what is asked meanwhile waits for them."""
        self._opening = asyncio.ensure_future(self._open())
        self._opening.add_done_callback(_tell)

    async def tools(self) -> dict[str, Tool]:
        """The tools by name. Raises what starting the agents raised."""
        return (await self._opened())[1]

    async def call(self, tool: Tool, given: Mapping[str, Any], caller: str, allowance: Allowance) -> Result:
        """Calls a tool for ``caller``; errors of agents and too many calls are results, too."""
        started, answers, note = time.perf_counter(), bill.set([]), "ok"
        try:
            slot = self._desk.admit(caller, allowance)
            try:
                slot.reserve(0)
                async with asyncio.timeout(self._config.deadline):
                    return Result(text=await tool.call(given))
            finally:
                slot.settle(sum(a.usage.prompt_tokens + a.usage.completion_tokens for a in bill.get() or []))
                slot.close()
        except (AiflowError, TimeoutError) as error:
            note = type(error).__name__
            if not isinstance(error, AiflowError):
                error = DeadlineError(f"no answer within {self._config.deadline:g} s")
            return Result(text=str(refusal.of(error, tool.name, verbatim=self._log_prompts)), failed=True)
        except BaseException as error:
            note = type(error).__name__
            raise
        finally:
            bill.reset(answers)
            log.info("tool=%s key=%s %s ms=%.1f", tool.name, caller, note, (time.perf_counter() - started) * 1000)

    async def resource(self, uri: str) -> str:
        """One of ``RESOURCES`` as JSON. Raises InputError."""
        cluster, _, census = await self._opened()
        if uri == "aiflow://topology":
            return json.dumps(topology_data(cluster.topology))
        if uri == "aiflow://status":
            return (await census.take(self._desk.running)).model_dump_json()
        raise InputError("there is no such resource.")

    async def close(self) -> None:
        """Ends the agents, also those that are only starting."""
        if self._opening is None:
            return
        await asyncio.wait({self._opening})
        if not self._opening.cancelled() and self._opening.exception() is None:
            cluster, _, census = self._opening.result()
            census.close()
            await cluster.aclose()

    async def _open(self) -> tuple[Deployment, dict[str, Tool], Census]:
        cluster, models = await asyncio.to_thread(open_models, self._config)
        try:
            return cluster, _tools(cluster, models), Census(cluster)
        except BaseException:
            await cluster.aclose()
            raise

    async def _opened(self) -> tuple[Deployment, dict[str, Tool], Census]:
        assert self._opening is not None, "open it first"
        return await asyncio.shield(self._opening)


def _tell(opening: "asyncio.Future[Any]") -> None:
    if not opening.cancelled() and (error := opening.exception()) is not None:
        log.error("the agents cannot be started: %s", error)


def _tools(cluster: Deployment, models: Mapping[str, Model]) -> dict[str, Tool]:
    made = [_graph(name, model) for name, model in models.items() if isinstance(model, GraphModel)]
    for agent in cluster.askable.values():
        made += [_ability(ability) for ability in agent.tools()]
    names = [tool.name for tool in made]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise UsageError(f"{', '.join(twice)} would name two tools; rename an agent or a graph.")
    return {tool.name: tool for tool in made}


def _graph(name: str, model: GraphModel) -> Tool:
    async def ask(given: Mapping[str, Any]) -> str:
        question = given.get("question")
        if set(given) != {"question"} or not isinstance(question, str) or not question.strip():
            raise InputError("give one argument: question, a text.")
        return (await model.answer((Message("user", question),), {})).text

    team = f" of the agents {', '.join(model.members)}" if model.members else ""
    return Tool(name=tool_name("ask", name), about=f"Asks the graph {name!r}{team}.", schema=QUESTION, call=ask)


def _ability(ability: Any) -> Tool:
    async def call(given: Mapping[str, Any]) -> str:
        try:
            checked = ability.args_schema.model_validate(dict(given))
        except ValidationError as error:
            wrong = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors(include_input=False))
            raise InputError(f"the arguments are wrong: {wrong}") from None
        return str(await ability.coroutine(**dict(checked)))

    schema = ability.args_schema.model_json_schema()
    return Tool(name=ability.name, about=ability.description, schema=schema, call=call)
