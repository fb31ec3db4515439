"""Who is asked what, and what becomes of errors."""

from collections.abc import Sequence

import pytest

from aiflow.bench import runner
from aiflow.bench.cache import AskCache
from aiflow.bench.nano.team import Team
from aiflow.bench.results import costs
from aiflow.bench.self_moa import SelfMoA
from aiflow.bench.subjects import Alone
from aiflow.bench.suite import Record, Reply, Sample, Suite
from aiflow.errors import BackendError
from aiflow.types import Message


class Echo:
    """Remembers how it was asked."""

    name = "echo"

    def __init__(self) -> None:
        self.talks: list[tuple[Message, ...]] = []

    async def reply(self, talk: Sequence[Message], sample: Sample | None = None) -> Reply:
        del sample
        self.talks.append(tuple(talk))
        return Reply(text=f"said {talk[-1].text}")


async def test_the_second_turn_sees_the_first_answer(suite: Suite) -> None:
    echo, seen = Echo(), list[Record]()
    found = await runner.run(suite, [echo], parallel=3, watch=seen.append)
    assert [record.sample for record in found["echo"]] == [sample.id for sample in suite.samples]
    assert len(seen) == 20
    second = next(talk for talk in echo.talks if talk[-1].text == "q7 t1")
    assert [(m.role, m.text) for m in second] == [("user", "q7 t0"), ("assistant", "said q7 t0"), ("user", "q7 t1")]


async def test_an_error_counts_apart_and_scores_zero(suite: Suite, team: Team) -> None:
    math = team.devices[0]
    math.fails_on = "q5 t0"  # type: ignore[attr-defined]
    records = (await runner.run(suite, [Alone(math)]))["math"]
    failed = records[5].turns
    assert failed[0].error == "BackendError: cannot"
    assert failed[1].error == "an earlier turn failed"
    assert [turn.score for turn in failed] == [0.0, 0.0]
    assert costs(records)["errors"] == 2
    assert records[0].score == 100.0


async def test_a_bug_ends_the_run(suite: Suite) -> None:
    class Broken(Echo):
        async def reply(self, talk: Sequence[Message], sample: Sample | None = None) -> Reply:
            del sample
            raise TypeError(talk[-1].text)

    with pytest.raises(TypeError):
        await runner.run(suite, [Broken()])


async def test_self_moa_samples_and_merges(suite: Suite, team: Team) -> None:
    subject = SelfMoA(agent=team.devices[2], server=team.server)
    record = await runner.converse(suite, subject, suite.samples[2])
    assert [turn.score for turn in record.turns] == [100.0, 100.0]
    assert list(record.turns[0].answers) == [f"text {n}" for n in range(1, 6)]
    assert record.turns[0].tokens == 18
    assert record.turns[0].bytes == {"cloud-phone": 500}


async def test_self_moa_outlives_a_sample_but_not_all(suite: Suite, team: Team) -> None:
    agent = team.devices[2]
    agent.fails_on = "q2 t0"  # type: ignore[attr-defined]
    with pytest.raises(BackendError):
        await SelfMoA(agent=agent, server=team.server).reply([Message("user", suite.samples[2].turns[0])])


async def test_the_cache_asks_nothing_twice(team: Team) -> None:
    agent = team.devices[1]
    cache = AskCache(agent, serve=False)
    first = await cache.ask("q1 t0")
    assert (await cache.ask("q1 t0")) == first
    assert len(agent.asked) == 2  # type: ignore[attr-defined]
    cache.serve = True
    assert (await cache.ask([("user", "q1 t0")], sender="cloud")) == first
    assert len(agent.asked) == 2  # type: ignore[attr-defined]
    agent.fails_on = "q9"  # type: ignore[attr-defined]
    for _ in range(2):
        with pytest.raises(BackendError):
            await cache.ask("q9 t0")
    assert (cache.hits, len(agent.asked)) == (1, 4)  # type: ignore[attr-defined]
