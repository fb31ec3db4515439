"""What came of a request: the text, what it cost by agent and link, and what went otherwise than it should have."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from aiflow.types import Answer, Finish, Usage

Logprobs = tuple[tuple[tuple[str, float], ...], ...]
MARKS = {"DeadlineError": "late", "AgentDiedError": "dead"}
"""What a failure is called; others are ``failed``."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """The end of an answer. ``marks``: agents that failed in a step, or were not asked (``idle``)."""

    text: str
    finish: Finish = "stop"
    logprobs: Logprobs = ()
    marks: Sequence[dict[str, str]] = ()


def usage(bill: Iterable[Answer]) -> Usage:
    """The sum over all answers that were given on the way."""
    return sum((answer.usage for answer in bill), Usage())


def costs(bill: Sequence[Answer], marks: Sequence[Mapping[str, str]]) -> dict[str, Any]:
    """The extra field ``aiflow``: tokens and seconds by agent, bytes by link, marks."""
    agents: dict[str, Usage] = {}
    sent: Counter[str] = Counter()
    for answer in bill:
        agents[answer.agent] = agents.get(answer.agent, Usage()) + answer.usage
        sent.update(answer.bytes)
    rows = {
        name: {
            "requests": total.requests,
            "prompt_tokens": total.prompt_tokens,
            "completion_tokens": total.completion_tokens,
            "seconds": round(total.seconds, 6),
        }
        for name, total in agents.items()
    }
    return {"agents": rows, "bytes": dict(sent), "marks": list(marks)}


def marks(trace: Iterable[Any], members: Iterable[str], asked: Iterable[str]) -> list[dict[str, str]]:
    """Of a graph's trace: who failed in which step; then the ``members`` that are in neither trace nor ``asked``."""
    found, seen = [], set(asked)
    for row in trace:
        seen.add(row["agent"])
        if not row["ok"]:
            error = row["error"].partition(":")[0]  # the rest may quote the prompt
            mark = MARKS.get(error, "failed")
            found.append({"agent": row["agent"], "step": row["step"], "mark": mark, "error": error})
    idle = [{"agent": name, "mark": "idle"} for name in members if name not in seen]
    return found + idle
