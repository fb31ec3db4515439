"""One request with several prompts: all are asked of the model, a few at a time, and told apart by their index.

Each has a bill of its own while it is asked, which goes onto the request's at its end: what a graph reads on its bill
are its own agents' answers.
"""

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from typing import Any

from aiflow.agents.spent import bill
from aiflow.serve.models import Model
from aiflow.serve.outcome import Outcome
from aiflow.types import Answer, Message

Talks = Sequence[Sequence[Message]]
AT_ONCE = 8
"""Prompts of one request that are asked at the same time."""


async def answers(model: Model, talks: Talks, given: Mapping[str, Any], total: list[Answer]) -> list[Outcome]:
    """An outcome for each of ``talks``, in their order; ``total`` is the request's bill. Raises what the first raised.

    The others are cancelled then, as they are with the caller.
    """
    if len(talks) == 1:
        return [await model.answer(talks[0], given)]
    slots = asyncio.Semaphore(AT_ONCE)

    async def one(talk: Sequence[Message]) -> Outcome:
        own: list[Answer] = []
        bill.set(own)
        try:
            async with slots:
                return await model.answer(talk, given)
        finally:
            total.extend(own)

    tasks = [asyncio.create_task(one(talk)) for talk in talks]
    try:
        return await asyncio.gather(*tasks)
    finally:
        await _end(tasks)


async def pieces(
    model: Model, talks: Talks, given: Mapping[str, Any], total: list[Answer]
) -> AsyncGenerator[tuple[int, str | Outcome]]:
    """Like ``answers``, in pieces as they come: the index of the prompt, and a piece of text or its outcome."""
    if len(talks) == 1:
        async with aclosing(model.stream(talks[0], given)) as said:
            async for piece in said:
                yield 0, piece
        return
    slots = asyncio.Semaphore(AT_ONCE)
    heard: asyncio.Queue[tuple[int, str | Outcome] | None] = asyncio.Queue(AT_ONCE)  # a slow reader slows the models

    async def one(index: int, talk: Sequence[Message]) -> None:
        own: list[Answer] = []
        bill.set(own)
        try:
            async with slots, aclosing(model.stream(talk, given)) as said:
                async for piece in said:
                    if isinstance(piece, Outcome):
                        total.extend(own)
                        own.clear()
                    await heard.put((index, piece))
        finally:
            total.extend(own)

    async def together() -> None:
        try:
            await asyncio.gather(*tasks)
        finally:
            await heard.put(None)

    tasks = [asyncio.create_task(one(index, talk)) for index, talk in enumerate(talks)]
    watch = asyncio.create_task(together())
    try:
        while (item := await heard.get()) is not None:
            yield item
        await watch  # raises what the first raised
    finally:
        watch.cancel()
        await _end([*tasks, watch])


async def _end(tasks: Sequence[asyncio.Task[Any]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
