"""The four steps of the device-server collaboration as LangGraph nodes: state in, update out.

The blocks do the work; this module knows what is kept in the state, who asks whom, and what happens when too few
answer.
"""

import asyncio
from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

from langchain_core.messages import AIMessage
from langgraph.config import get_config

from aiflow.agents.interface import Asks
from aiflow.errors import InputError, QuorumError
from aiflow.graphs.blocks.attempt import attempt
from aiflow.graphs.blocks.fan_out import gather
from aiflow.graphs.blocks.merge import Merged, merge
from aiflow.graphs.blocks.node import Update
from aiflow.graphs.blocks.revise import revise
from aiflow.graphs.blocks.select import select
from aiflow.graphs.state import State
from aiflow.graphs.workflows.policy import Policy
from aiflow.types import Message, Options, conversation


@runtime_checkable
class Loads(Protocol):
    """An agent whose model takes time to load."""

    async def ready(self) -> None:
        """Waits until it can answer."""


class Collaboration:
    """A server, its devices and their policy. All requests leave from the server's node."""

    def __init__(self, server: Asks, devices: Sequence[Asks], policy: Policy) -> None:
        self.server, self.devices, self.policy = server, devices, policy
        self._waiting = True
        self._server_call: dict[str, Any] = {"options": policy.server_options, "deadline": policy.server_deadline}

    @property
    def _device_call(self) -> dict[str, Any]:
        """How devices are asked: as the policy says, or by the run's ``configurable.options``."""
        options = _configured() or self.policy.options
        return {"sender": self.server.node, "options": options, "deadline": self.policy.deadline}

    @property
    def _writing_call(self) -> dict[str, Any]:
        """How the server is asked for the answer itself: by the run's options too, where those are given."""
        return self._server_call | {"options": _configured() or self.policy.server_options}

    async def select(self, state: State) -> Update:
        """Names the devices that suit the question, and clears what the last turn left."""
        policy, turns = self.policy, await self._question(state)
        chosen = await select(
            self.server,
            self.devices,
            turns,
            count=policy.count(self.devices),
            selector=policy.selector,
            budget=policy.budget,
            **self._server_call,
        )
        fresh: Update = {"answers": {}, "finals": {}, "merged": "", "round": 0}
        return fresh | {"selected": chosen.names, "trace": chosen.trace}

    async def answer(self, state: State) -> Update:
        """Asks the selected devices (every device if all are to revise), in parallel."""
        policy, turns = self.policy, await self._question(state)
        by_name = {device.name: device for device in self.devices}
        asked = [by_name[name] for name in state["selected"]]
        if policy.revise == "all":
            asked += [device for device in self.devices if device not in asked]
        replies = await gather(asked, turns, quorum=policy.quorum, grace=policy.grace, **self._device_call)
        answers = {reply.agent: reply.text for reply in replies if reply.ok}
        return {
            "answers": answers,
            "finals": answers,
            "trace": state["trace"] + [reply.record for reply in replies],
        }

    async def merge(self, state: State) -> Update:
        """Makes one answer of those of the selected devices; without a quorum, the server answers alone."""
        policy, turns, done = self.policy, await self._question(state), state["round"] + 1
        finals = self._to_merge(state)
        if len(finals) < policy.quorum:
            merged = await self._alone(state, turns)
        else:
            merged = await merge(
                self.server,
                self.devices,
                finals,
                turns,
                how=policy.merge,
                quote=policy.quote,
                budget=policy.budget,
                fallback=state["merged"] or None,
                **self._writing_call,
            )
        update: Update = {"merged": merged.text, "round": done, "trace": state["trace"] + merged.trace}
        return update | ({"messages": [AIMessage(merged.text)]} if done == policy.rounds else {})

    async def revise(self, state: State) -> Update:
        """Sends the merged answer back to every device that has answered."""
        turns = await self._question(state, merged=state["round"] == self.policy.rounds)
        replies = await revise(self.devices, state["finals"], state["merged"], turns, **self._device_call)
        revised = {reply.agent: reply.text for reply in replies if reply.ok}
        return {"finals": state["finals"] | revised, "trace": state["trace"] + [reply.record for reply in replies]}

    async def _question(self, state: State, *, merged: bool = False) -> tuple[Message, ...]:
        """The conversation up to the user's question; ``merged``: the answer to it is there already.

        Waits, once, for the models of agents that load one: no deadline counts that. Failures show when they are asked.
        """
        if self._waiting:
            waits = [agent.ready() for agent in (self.server, *self.devices) if isinstance(agent, Loads)]
            await asyncio.gather(*waits, return_exceptions=True)
            self._waiting = False
        turns = conversation(state["messages"][: -1 if merged else None])
        if turns[-1].role != "user":
            raise InputError("the last message is not the user's; end the messages with a question.")
        return turns

    def _to_merge(self, state: State) -> dict[str, str]:
        """The answers of the selected devices; of whoever answered, if those are fewer than the quorum."""
        finals = {name: state["finals"][name] for name in state["selected"] if name in state["finals"]}
        return finals if len(finals) >= self.policy.quorum else finals | state["finals"]

    async def _alone(self, state: State, turns: Sequence[Message]) -> Merged:
        failures = [f"{r['agent']}: {r['error']}" for r in state["trace"] if r["step"] == "answer" and not r["ok"]]
        answered = sum(name in state["answers"] for name in state["selected"])
        few = f"{answered} of {len(state['selected'])} selected devices answered"
        note = f"fallback: the server answers alone, {few}, the quorum is {self.policy.quorum}"
        reply = await attempt(self.server, turns, step="merge", note=note, **self._writing_call)
        if not reply.ok:
            why = "; ".join([*failures, f"{self.server.name}: {reply.record['error']}"])
            raise QuorumError(f"{few}, the quorum is {self.policy.quorum}, and the server failed too ({why}).")
        return Merged(text=reply.text, trace=[reply.record])


def _configured() -> Options | None:
    found = get_config().get("configurable", {}).get("options")
    if not isinstance(found, Options | None):
        raise InputError(f"configurable.options={found!r} is not an aiflow.Options.")
    return found
