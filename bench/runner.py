"""Asks every subject every sample, turn by turn, and scores what comes back. Knows no model and no graph."""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence

from aiflow.bench.suite import Record, Reply, Said, Sample, Subject, Suite, Turn
from aiflow.errors import AiflowError
from aiflow.types import Message

Watch = Callable[[Record], None]


async def run(
    suite: Suite, subjects: Sequence[Subject], *, parallel: int = 32, watch: Watch = lambda _: None
) -> dict[str, list[Record]]:
    """Records of every subject, in the order of the suite's samples; ``watch`` sees each when it is done.

    ``parallel`` conversations are in flight at once, over all subjects. An AiflowError of a subject becomes the error
    of its turn; anything else is a bug and ends the run.
    """
    gate = asyncio.Semaphore(parallel)

    async def one(subject: Subject, sample: Sample) -> Record:
        async with gate:
            record = await converse(suite, subject, sample)
        watch(record)
        return record

    tasks = [asyncio.create_task(one(subject, sample)) for subject in subjects for sample in suite.samples]
    try:
        records = await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
    count = len(suite.samples)
    return {subject.name: records[n * count : (n + 1) * count] for n, subject in enumerate(subjects)}


async def converse(suite: Suite, subject: Subject, sample: Sample) -> Record:
    """One sample by one subject: each turn is asked with the subject's own earlier answers in context."""
    talk: list[Message] = []
    turns: list[Turn] = []
    for number, question in enumerate(sample.turns):
        talk.append(Message("user", question))
        if turns and turns[-1].error:
            turns.append(Turn(text="", score=0.0, error="an earlier turn failed"))
            continue
        turns.append(await _turn(suite, subject, sample, number, talk))
        talk.append(Message("assistant", turns[-1].text))
    return Record(subject=subject.name, sample=sample.id, category=sample.category, turns=tuple(turns))


async def _turn(suite: Suite, subject: Subject, sample: Sample, number: int, talk: Sequence[Message]) -> Turn:
    start = time.perf_counter()
    try:
        reply = await subject.reply(talk)
    except AiflowError as error:
        told = f"{type(error).__name__}: {error}"
        return Turn(text="", score=0.0, error=told, seconds=time.perf_counter() - start)
    return _scored(suite, sample, number, reply)


def _scored(suite: Suite, sample: Sample, number: int, reply: Reply) -> Turn:
    def said(texts: Mapping[str, str]) -> dict[str, Said]:
        return {name: Said(text, suite.score(sample, number, text)) for name, text in texts.items()}

    return Turn(
        text=reply.text,
        score=suite.score(sample, number, reply.text),
        seconds=reply.seconds,
        tokens=reply.tokens,
        bytes=reply.bytes,
        selected=reply.selected,
        answers=said(reply.answers),
        finals=said(reply.finals),
        steps=reply.steps,
    )
