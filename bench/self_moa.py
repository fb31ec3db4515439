"""Self-MoA: one agent sampled many times and its samples merged, the baseline that a collaboration has to beat."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from zlib import crc32

from aiflow import prompts
from aiflow.agents.interface import Asks
from aiflow.bench.subjects import GREEDY, total
from aiflow.bench.suite import Reply, Sample
from aiflow.errors import AiflowError
from aiflow.types import Answer, Message, Options


@dataclass(frozen=True, kw_only=True)
class SelfMoA:
    """One agent sampled ``n`` times: the baseline to beat.

    ``how="synthesis"``: the server writes one answer of the samples, with the graphs' own prompt; otherwise the most
    frequent sample wins (self-consistency), since samples of one agent cannot be told apart by its name or description.
    """

    agent: Asks
    server: Asks
    n: int = 5
    temperature: float = 0.7
    seed: int = 0
    name: str = "Self-MoA"
    how: str = "synthesis"
    options: Options = GREEDY

    async def reply(self, talk: Sequence[Message], sample: Sample | None = None) -> Reply:
        """``n`` asks from the server's node at once, then one merge."""
        start = time.perf_counter()
        seeds = [crc32(f"{self.seed}/{voice}/{len(talk)}/{talk[0].text}".encode()) for voice in range(self.n)]
        asked = (sample and sample.options) or self.options
        how = [replace(asked, temperature=self.temperature, seed=s) for s in seeds]
        asks = (self.agent.ask(talk, sender=self.server.node, options=options) for options in how)
        said = _answered(await asyncio.gather(*asks, return_exceptions=True))
        merged = await self._written(talk, said, asked) if self.how == "synthesis" else _frequent(said)
        written = merged.usage.completion_tokens if self.how == "synthesis" else 0
        return Reply(
            text=merged.text,
            seconds=time.perf_counter() - start,
            tokens=written + sum(answer.usage.completion_tokens for answer in said),
            bytes=total(answer.bytes for answer in said),
            answers={f"{self.agent.name} {i}": answer.text for i, answer in enumerate(said, 1)},
        )

    async def _written(self, talk: Sequence[Message], said: Sequence[Answer], options: Options) -> Answer:
        rows = [(self.agent.name, self.agent.about, answer.text) for answer in said]
        prompt = prompts.merge(prompts.transcript((m.role, m.text) for m in talk), rows)
        return await self.server.ask(prompt, options=options)


def _frequent(said: Sequence[Answer]) -> Answer:
    from aiflow.graphs.blocks.vote import vote

    return said[int(vote({str(voice): answer.text for voice, answer in enumerate(said)})[0])]


def _answered(results: Sequence[Answer | BaseException]) -> list[Answer]:
    """The answers among ``results``; raises the first failure if there are none, or if it is a bug."""
    failures = [result for result in results if isinstance(result, BaseException)]
    answers = [result for result in results if isinstance(result, Answer)]
    for failure in failures:
        if not answers or not isinstance(failure, AiflowError):
            raise failure
    return answers
