"""Step 1 (AI Flow, IV-A): which devices suit the question, by their descriptions."""

from collections.abc import Sequence
from dataclasses import dataclass
from time import time
from typing import Any, Literal

from aiflow import prompts
from aiflow.agents.interface import Asks
from aiflow.graphs.blocks import similarity
from aiflow.graphs.blocks.budget import Budget
from aiflow.graphs.blocks.choose import choose
from aiflow.graphs.state import Record, record
from aiflow.types import Message, Options, conversation

Selector = Literal["server", "tfidf", "all"] | similarity.Embed
SELECTORS = ("server", "tfidf", "all")


@dataclass(frozen=True, kw_only=True)
class Selection:
    """The names of the selected devices, most suitable first, and the trace."""

    names: list[str]
    trace: list[Record]


async def select(
    server: Asks,
    devices: Sequence[Asks],
    messages: Any,
    *,
    count: int = 2,
    selector: Selector = "server",
    options: Options | None = None,
    deadline: float | None = None,
    budget: Budget | None = None,
) -> Selection:
    """Selects ``count`` of ``devices`` for the last question of the conversation ``messages``.

    ``server`` is asked, or TF-IDF similarity, or an embedding function (texts to vectors). TF-IDF steps in where the
    server fails, and fills up where it names too few; the trace's note says so. No call if all are to be taken.
    """
    turns = conversation(messages)
    names = [device.name for device in devices]
    if selector == "all" or count >= len(devices):
        return Selection(names=names, trace=[record("select", server, time(), note="all")])
    abouts = [f"{device.name} {device.about}" for device in devices]
    if callable(selector):
        started = time()
        order = await similarity.by_embedding(turns, abouts, selector)
        trace = [record("select", server, started, note="embedding")]
        return Selection(names=[names[i] for i in order[:count]], trace=trace)
    picked: list[str] = []
    trace = []
    if selector == "server":
        about = [(device.name, device.about) for device in devices]
        prompt, cut = (budget or Budget()).fit(turns, [], lambda talk, _: prompts.select(talk, about, count))
        question = Message("user", prompt, pictures(turns))
        picked, trace = await choose(
            server, question, names, count, step="select", options=options, deadline=deadline, note=cut
        )
    if len(picked) < count:
        started, missing = time(), count - len(picked)
        rest = [names[i] for i in similarity.by_tfidf(turns, abouts) if names[i] not in picked][:missing]
        note = "tfidf" if selector == "tfidf" else f"fallback: tfidf chose {', '.join(rest)}"
        trace.append(record("select", server, started, note=note))
        picked += rest
    return Selection(names=picked, trace=trace)


def pictures(turns: Sequence[Message]) -> tuple[Any, ...]:
    """All images of a conversation, for a prompt that holds its transcript."""
    return tuple(image for turn in turns for image in turn.images)
