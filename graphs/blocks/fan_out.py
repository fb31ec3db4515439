"""One question to many agents at once, with a deadline and a quorum.

These are ours, not LangGraph's ``Send``: a branch that fails there fails its siblings (langgraph#8277).
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Any

from aiflow.agents.interface import Asks
from aiflow.errors import QuorumError
from aiflow.graphs.blocks.attempt import Reply, attempt, failed
from aiflow.types import Options

LATE = "DeadlineError: not waited for, a quorum had answered"


async def gather(
    agents: Sequence[Asks],
    messages: Any | Callable[[Asks], Any],
    *,
    step: str = "answer",
    sender: str | None = None,
    options: Options | None = None,
    deadline: float | None = None,
    quorum: int = 1,
    grace: float | None = None,
) -> list[Reply]:
    """Asks all ``agents`` at once, and returns their replies in order when all are in or at the ``deadline``.

    ``messages`` is one conversation for all, or a function from an agent to its own. With ``grace``, it waits only that
    many seconds more once ``quorum`` agents have answered. A failed agent is a Reply that is not ``ok``.
    """
    started = time.time()
    tasks = [
        asyncio.ensure_future(
            attempt(
                agent,
                messages(agent) if callable(messages) else messages,
                step=step,
                sender=sender,
                options=options,
                deadline=deadline,
            )
        )
        for agent in agents
    ]
    try:
        await _wait(tasks, quorum, grace)
        return [
            task.result() if task.done() else failed(agent, step, started, LATE)
            for agent, task in zip(agents, tasks, strict=True)
        ]
    finally:
        for task in tasks:
            task.cancel()


async def fan_out(
    agents: Sequence[Asks],
    messages: Any | Callable[[Asks], Any],
    *,
    step: str = "answer",
    sender: str | None = None,
    options: Options | None = None,
    deadline: float | None = None,
    quorum: int = 1,
    grace: float | None = None,
) -> list[Reply]:
    """Like ``gather``; raises QuorumError when fewer than ``quorum`` agents answer."""
    replies = await gather(
        agents, messages, step=step, sender=sender, options=options, deadline=deadline, quorum=quorum, grace=grace
    )
    if sum(reply.ok for reply in replies) < quorum:
        raise no_quorum(replies, quorum)
    return replies


def no_quorum(replies: Sequence[Reply], quorum: int) -> QuorumError:
    """The error that says how many answered, and what became of the others."""
    answered = sum(reply.ok for reply in replies)
    why = "; ".join(f"{reply.agent}: {reply.record['error']}" for reply in replies if not reply.ok)
    return QuorumError(f"{answered} of {len(replies)} agents answered, the quorum is {quorum} ({why}).")


async def _wait(tasks: Sequence["asyncio.Future[Reply]"], quorum: int, grace: float | None) -> None:
    pending = set(tasks)
    if grace is None:
        if pending:
            await asyncio.wait(pending)
        return
    clock = asyncio.get_running_loop().time
    end: float | None = None
    while pending:
        done, pending = await asyncio.wait(
            pending, timeout=None if end is None else max(0.0, end - clock()), return_when=asyncio.FIRST_COMPLETED
        )
        if not done:
            return
        if end is None and sum(task.done() and task.result().ok for task in tasks) >= quorum:
            end = clock() + grace
