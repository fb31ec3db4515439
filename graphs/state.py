"""What the graphs remember: text, names and small JSON, so that every LangGraph checkpointer can keep it."""

import time
from typing import NotRequired, TypedDict

from langgraph.graph import MessagesState

from aiflow.agents.interface import Asks
from aiflow.types import Answer


class Record(TypedDict):
    """One line of a trace: what one agent did in one step."""

    step: str  # select, answer, merge, revise
    agent: str
    node: str
    ok: bool
    error: str  # "" when ok; else the error's class and message
    note: str  # what was decided beside the agent: a fallback, a cut, the winner of a vote
    seconds: float  # what the asker waited, links included
    started: float  # seconds since the Unix epoch
    prompt_tokens: int
    completion_tokens: int
    bytes: dict[str, int]  # by link
    parts: NotRequired[dict[str, float]]  # of the seconds of a shared inference: device, link, server


class State(MessagesState, total=False):
    """The conversation, and the scratch of the current turn (written anew by every turn)."""

    selected: list[str]  # whose answers are merged, most suitable first
    answers: dict[str, str]  # first answers, by device; who failed is missing
    merged: str
    finals: dict[str, str]  # latest answers: revised, or the first one where the revision failed
    round: int  # merges done
    trace: list[Record]


def record(
    step: str, agent: Asks, started: float, *, answer: Answer | None = None, error: str = "", note: str = ""
) -> Record:
    """A record of what ``agent`` did since ``started`` (Unix seconds), with what ``answer`` says that it cost."""
    answer = answer or Answer(text="")
    made = Record(
        step=step,
        agent=agent.name,
        node=answer.node or agent.node,
        ok=not error,
        error=error,
        note=note,
        seconds=answer.seconds or time.time() - started,
        started=started,
        prompt_tokens=answer.usage.prompt_tokens,
        completion_tokens=answer.usage.completion_tokens,
        bytes=dict(answer.bytes),
    )
    parts = {name: getattr(answer, f"{name}_seconds", None) for name in ("device", "link", "server")}
    if known := {name: seconds for name, seconds in parts.items() if seconds is not None}:
        made["parts"] = known
    return made
