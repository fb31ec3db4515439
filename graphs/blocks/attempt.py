"""One question to one agent that may fail: the result is a Reply in every case, never an exception of the agent's.

Streams the tokens to LangGraph's ``custom`` stream when somebody listens; knows nothing of other agents or of graphs.
"""

import asyncio
import time
from dataclasses import dataclass
from typing import Any

from aiflow.agents.interface import Asks
from aiflow.errors import AiflowError, BackendError, DeadlineError
from aiflow.graphs.blocks.writer import Write, writer
from aiflow.graphs.state import Record, record
from aiflow.types import Answer, Delta, Options

SLACK = 0.05  # seconds beyond the deadline, in which an agent may report it itself and say more


@dataclass(frozen=True, kw_only=True)
class Reply:
    """What came of asking: the text (empty if the agent failed) and the line for the trace."""

    agent: str
    text: str
    record: Record

    @property
    def ok(self) -> bool:
        """Whether the agent answered."""
        return self.record["ok"]


async def attempt(
    agent: Asks,
    messages: Any,
    *,
    step: str,
    sender: str | None = None,
    options: Options | None = None,
    deadline: float | None = None,
    note: str = "",
) -> Reply:
    """Asks ``agent`` from node ``sender``; gives up ``SLACK`` after ``deadline`` (seconds), even if the agent hangs.

    An error of aiflow, an empty text and garbage become a Reply that is not ``ok``; other exceptions are bugs and rise.
    """
    started = time.time()
    asking = asyncio.ensure_future(_ask(agent, messages, step, sender, options, deadline))
    asking.add_done_callback(lambda task: task.cancelled() or task.exception())  # a late failure interests nobody
    try:
        await asyncio.wait({asking}, timeout=None if deadline is None else deadline + SLACK)
        if not asking.done():
            raise DeadlineError(f"no answer within {deadline:g} s", agent.name)
        if asking.cancelled():
            raise BackendError("the agent gave up", agent.name)
        answer = _sound(asking.result())
    except AiflowError as error:
        return failed(agent, step, started, f"{type(error).__name__}: {error}", note)
    finally:
        asking.cancel()
    return Reply(agent=agent.name, text=answer.text, record=record(step, agent, started, answer=answer, note=note))


def failed(agent: Asks, step: str, started: float, error: str, note: str = "") -> Reply:
    """The Reply of an agent that did not answer."""
    return Reply(agent=agent.name, text="", record=record(step, agent, started, error=error, note=note))


async def _ask(
    agent: Asks, messages: Any, step: str, sender: str | None, options: Options | None, deadline: float | None
) -> Answer:
    write = writer()
    if write is None:
        return await agent.ask(messages, sender=sender, options=options, deadline=deadline)
    return await tell(agent, messages, write, step, sender=sender, options=options, deadline=deadline)


async def tell(agent: Asks, messages: Any, write: Write, step: str, **how: Any) -> Answer:
    """Asks ``agent`` in pieces and writes each as ``{"step", "agent", "delta"}``."""
    pieces = agent.stream(messages, **how)
    try:
        async for piece in pieces:
            if not isinstance(piece, Delta):
                return piece
            write({"step": step, "agent": agent.name, "delta": piece.text})
    finally:
        if close := getattr(pieces, "aclose", None):
            await close()
    raise BackendError("the stream ended without an answer", agent.name)


def _sound(answer: Answer) -> Answer:
    """Returns ``answer`` if its text can be shown to others; raises BackendError on an empty or a garbled one."""
    if not isinstance(answer, Answer) or not isinstance(answer.text, str):
        raise BackendError(f"not an answer but {str(answer)[:40]!r}")
    text = answer.text.strip()
    garbled = sum(not (char.isprintable() or char.isspace()) or char == "\ufffd" for char in text)
    if not text or garbled * 4 > len(text):
        raise BackendError(f"garbage: {text[:40]!r}" if text else "the answer is empty", answer.agent)
    return answer
