"""Step 3 (AI Flow, IV-A): one answer out of several."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from time import time
from typing import Any, Literal

from aiflow import prompts
from aiflow.agents.interface import Asks
from aiflow.graphs.blocks.budget import Budget
from aiflow.graphs.blocks.choose import choose
from aiflow.graphs.blocks.consult import consult, joined
from aiflow.graphs.blocks.select import pictures
from aiflow.graphs.blocks.vote import vote
from aiflow.graphs.state import Record, record
from aiflow.types import Message, Options, conversation

How = Literal["synthesis", "vote", "best_of_n", "rank"]
Quote = Literal["plain", "data"]
QUOTES = ("plain", "data")
HOWS = ("synthesis", "vote", "best_of_n", "rank")


@dataclass(frozen=True, kw_only=True)
class Merged:
    """The joint answer, and the trace."""

    text: str
    trace: list[Record]


async def merge(
    server: Asks,
    devices: Sequence[Asks],
    answers: Mapping[str, str],
    messages: Any,
    *,
    how: How = "synthesis",
    options: Options | None = None,
    deadline: float | None = None,
    budget: Budget | None = None,
    fallback: str | None = None,
    quote: Quote = "plain",
) -> Merged:
    """Merges ``answers`` (device name to text, in order of preference, at least one) to the conversation ``messages``.

    ``synthesis``: the server writes one. ``vote``: the most frequent one, without the server. ``best_of_n``: the one
    that the server names; ``rank``: the first of the server's ranking; both word for word, and without a call for a
    single answer. A server that fails or names nobody is replaced by ``fallback``, or else by a vote (see the note).
    ``quote``: the server reads the answers as lines of a list, or as data between marks that no device can forge.
    """
    if how == "vote" or (len(answers) == 1 and how != "synthesis"):
        return _voted(server, answers, "")
    turns = conversation(messages)
    abouts = {device.name: device.about for device in devices}
    template = {"synthesis": prompts.MERGE, "best_of_n": prompts.BEST, "rank": prompts.RANK}[how]
    write = prompts.merge if quote == "plain" else prompts.merge_data
    prompt, cut = (budget or Budget()).fit(
        turns,
        [(name, abouts.get(name, ""), text) for name, text in answers.items()],
        lambda talk, rows: write(talk, rows, template),
    )
    question = Message("user", prompt, pictures(turns))
    if how == "synthesis":
        replies = await consult(server, question, step="merge", options=options, deadline=deadline, note=cut)
        merged = Merged(text=replies[-1].text, trace=[reply.record for reply in replies])
    else:
        count = 1 if how == "best_of_n" else len(answers)
        names, trace = await choose(
            server, question, list(answers), count, step="merge", options=options, deadline=deadline, note=cut
        )
        trace[-1]["note"] = joined(trace[-1]["note"], f"{how}: {', '.join(names)}" if names else "")
        merged = Merged(text=answers[names[0]] if names else "", trace=trace)
    if merged.text:
        return merged
    if fallback:
        kept = record("merge", server, time(), note="fallback: the last merged answer stays")
        return Merged(text=fallback, trace=[*merged.trace, kept])
    voted = _voted(server, answers, "fallback: ")
    return Merged(text=voted.text, trace=[*merged.trace, *voted.trace])


def _voted(server: Asks, answers: Mapping[str, str], why: str) -> Merged:
    started = time()
    name, votes = vote(answers)
    note = f"{why}vote: {name}, {votes} of {len(answers)}"
    return Merged(text=answers[name], trace=[record("merge", server, started, note=note)])
