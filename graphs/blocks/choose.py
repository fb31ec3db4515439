"""A model names some of the agents: one question, one retry in firmer words. Used to select, pick the best and rank."""

from collections.abc import Sequence

from aiflow.agents.interface import Asks
from aiflow.graphs.blocks.attempt import Reply
from aiflow.graphs.blocks.consult import consult, joined
from aiflow.graphs.blocks.names import find_names
from aiflow.graphs.state import Record
from aiflow.types import Message, Options

FIRMER = "{prompt}\n\nReply with nothing but {count} of these names, separated by commas: {names}."


async def choose(
    server: Asks,
    question: Message,
    names: Sequence[str],
    count: int,
    *,
    step: str,
    options: Options | None = None,
    deadline: float | None = None,
    note: str = "",
) -> tuple[list[str], list[Record]]:
    """Asks ``server`` for ``count`` of ``names``; returns those it named, best first, and the trace.

    It is asked again if no name can be made out in its reply, but not if it failed. No name at all is an empty list.
    """
    trace: list[Record] = []
    prompt = question.text
    for why in ("", "asked again: no name in the reply"):
        asked = Message("user", prompt, question.images)
        replies = await consult(server, asked, step=step, options=options, deadline=deadline, note=joined(note, why))
        trace += [reply.record for reply in replies]
        found = find_names(replies[-1].text, names, count)
        if found or _dead(replies[-1]):
            return found, trace
        prompt = FIRMER.format(prompt=question.text, count=count, names=", ".join(names))
    return [], trace


def _dead(reply: Reply) -> bool:
    """Whether asking again is of no use: the agent failed, other than by an answer without sense."""
    return not reply.ok and not reply.record["error"].startswith("BackendError: ")
