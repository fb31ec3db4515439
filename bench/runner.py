"""Asks every subject every sample, turn by turn, and has what comes back graded. Knows no model and no graph."""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Literal

from aiflow.bench.suite import Grade, Record, Reply, Said, Sample, Subject, Suite, Turn
from aiflow.bench.tally import counting
from aiflow.errors import AiflowError, BudgetSpentError
from aiflow.types import Message

Watch = Callable[[Record], None]


Done = Mapping[tuple[str, str], Record]
"""(subject, sample id) -> what an earlier run, which was stopped, has found."""


async def run(
    suite: Suite,
    subjects: Sequence[Subject],
    *,
    parallel: int = 32,
    watch: Watch = lambda _: None,
    done: Done = MappingProxyType({}),
) -> dict[str, list[Record]]:
    """Records of every subject, in the order of the suite's samples; ``watch`` sees each new one when it is done.

    ``parallel`` conversations are in flight at once, over all subjects. An AiflowError of a subject becomes the error
    of its turn. A BudgetSpentError, an error of a judge, and anything else (a bug) end the run.
    """
    gate = asyncio.Semaphore(parallel)

    async def one(subject: Subject, sample: Sample) -> Record:
        if known := done.get((subject.name, sample.id)):
            return known
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
        talk.append(Message("user", question, () if number else sample.pictures()))
        if turns and turns[-1].error:
            turns.append(Turn(text="", score=0.0, error="an earlier turn failed"))
            continue
        turns.append(await _turn(suite, subject, sample, turns, talk))
        talk.append(Message("assistant", turns[-1].text))
    return Record(subject=subject.name, sample=sample.id, category=sample.category, turns=tuple(turns))


async def _turn(
    suite: Suite, subject: Subject, sample: Sample, before: Sequence[Turn], talk: Sequence[Message]
) -> Turn:
    start = time.perf_counter()
    try:
        with counting() as tally:
            reply = await subject.reply(talk, sample)
    except BudgetSpentError:
        raise
    except AiflowError as error:
        told = f"{type(error).__name__}: {error}"
        return Turn(text="", score=0.0, error=told, seconds=time.perf_counter() - start)
    reply = replace(reply, tokens=reply.tokens or tally.tokens, bytes=reply.bytes or dict(tally.bytes))
    return replace(await _graded(suite, subject.name, sample, before, reply), reused=tally.reused)


async def _graded(suite: Suite, subject: str, sample: Sample, before: Sequence[Turn], reply: Reply) -> Turn:
    """``before``: the turns so far. A device's text is graded after that device's own earlier ones."""

    async def said(kind: Literal["answers", "finals"]) -> dict[str, Said]:
        found = {}
        for name, text in getattr(reply, kind).items():
            earlier = [getattr(turn, kind).get(name, Said(turn.text, None)).text for turn in before]
            own = suite.grader(name)
            grade = await own(sample, [*earlier, text]) if kind in suite.graded else Grade(score=None)
            found[name] = Said(text, grade.score)
        return found

    grade = await suite.grader(subject)(sample, [*(turn.text for turn in before), reply.text])
    return Turn(
        text=reply.text,
        score=grade.score,
        judgments=grade.judgments,
        seconds=reply.seconds,
        tokens=reply.tokens,
        bytes=reply.bytes,
        selected=reply.selected,
        answers=await said("answers"),
        finals=await said("finals"),
        steps=reply.steps,
    )
