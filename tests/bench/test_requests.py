"""Requests that are written down, budgets, and graders that ask judges."""

from pathlib import Path

import pytest

from aiflow.bench.budget import Budget
from aiflow.bench.cache import AskCache
from aiflow.bench.judges import Judge, rating
from aiflow.bench.nano.team import Team
from aiflow.bench.requests import RequestLog
from aiflow.errors import BudgetSpentError, DataError, InputError
from aiflow.types import Answer, Options, Usage


async def test_what_was_answered_is_not_asked_again(team: Team, tmp_path: Path) -> None:
    agent, path = team.devices[1], tmp_path / "requests.jsonl"
    first = await AskCache(agent, log=RequestLog(path)).ask("q1 t0", options=Options(seed=3))
    with path.open("ab") as file:
        file.write(b'{"key": "torn')
    again = AskCache(agent, log=RequestLog(path))
    assert await again.ask("q1 t0", options=Options(seed=3)) == first
    assert (again.hits, again.misses, len(agent.asked)) == (1, 0, 1)  # type: ignore[attr-defined]
    await again.ask("q1 t0", options=Options(seed=4))
    assert (again.misses, len(RequestLog(path))) == (1, 2)


def test_a_damaged_log_of_requests_is_told(tmp_path: Path) -> None:
    path = tmp_path / "requests.jsonl"
    path.write_text('{"key": "a"}\n')
    with pytest.raises(DataError, match=r"requests\.jsonl:1 is not a recorded answer"):
        RequestLog(path)


async def test_a_budget_stops_before_the_next_request(team: Team) -> None:
    budget = Budget(tokens=5)
    cache = AskCache(team.devices[0], budget=budget)
    await cache.ask("q0 t0")
    await cache.ask("q1 t0")
    with pytest.raises(BudgetSpentError, match="5 tokens"):
        await cache.ask("q2 t0")
    await cache.ask("q1 t0")  # what is known costs nothing
    assert budget.spent.completion_tokens == 6


def test_a_budget_in_dollars_needs_prices() -> None:
    with pytest.raises(InputError, match="prices"):
        Budget(dollars=1.0)
    budget = Budget(dollars=1.0, prices=(10.0, 30.0))
    budget.add(Usage(prompt_tokens=40_000, completion_tokens=20_000))
    assert budget.cost == pytest.approx(1.0)
    with pytest.raises(BudgetSpentError):
        budget.check()
    with pytest.raises(InputError, match="allows nothing"):
        Budget(requests=0)


class Babbler:
    """Judges clearly only at the n-th time."""

    name, about, node = "babbler", "", "cloud"

    def __init__(self, *words: str) -> None:
        self.words, self.talks = list(words), list[object]()

    async def ask(self, messages: object, *, options: Options | None = None, **_: object) -> Answer:
        self.talks.append((messages, options))
        return Answer(text=self.words.pop(0), usage=Usage(requests=1, completion_tokens=2))


async def test_a_judge_is_asked_once_more() -> None:
    babbler = Babbler("very nice", "Rating: [[7]]")
    heard = await Judge(agent=babbler).hear("Rate it.", lambda a: rating(a.text), options=Options())  # type: ignore[arg-type]
    assert (heard.value, heard.judgment.text, heard.judgment.tokens) == (7.0, "Rating: [[7]]", 4)
    assert [options.seed for _, options in babbler.talks] == [None, 1]  # type: ignore[attr-defined]


async def test_words_that_stay_unreadable_are_no_score() -> None:
    babbler = Babbler("very nice", "still nice")
    heard = await Judge(agent=babbler).hear(  # type: ignore[arg-type]
        "Rate it.", lambda a: rating(a.text), options=Options(), again="End with a rating."
    )
    assert heard.value is None
    assert heard.judgment.text == "very nice\nstill nice"
    assert [m.text for m in babbler.talks[1][0]] == ["Rate it.", "very nice", "End with a rating."]  # type: ignore[index]
