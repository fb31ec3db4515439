"""A team of stand-in agents whose accuracy is known, so that every figure of a benchmark is known beforehand.

Question ``q7 t1`` belongs to device 7 mod 5; that device alone knows the answer, ``a7.1``. The server selects it, then
its neighbour, and merges by taking the knowing device's answer; who revises adopts the joint answer.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from aiflow.bench.nano import run_nano
from aiflow.bench.nano.team import Team
from aiflow.bench.outcome import Outcome
from aiflow.bench.suite import Sample, Suite, by_rule
from aiflow.errors import BackendError
from aiflow.types import Answer, Delta, Options, Usage, conversation

DEVICES = ("math", "code", "text", "islands", "minerals")
_ASKED = re.compile(r"q(\d+) t(\d+)")


@dataclass
class StandIn:
    """An agent that computes its answer from the conversation."""

    name: str
    say: Callable[[str, str], str]
    about: str = ""
    node: str = "phone"
    fails_on: str = "nothing"
    asked: list[str] = field(default_factory=list)

    async def ask(
        self,
        messages: Any,
        *,
        sender: str | None = None,
        options: Options | None = None,
        deadline: float | None = None,
    ) -> Answer:
        del options, deadline
        turns = conversation(messages)
        question = next(m.text for m in reversed(turns) if _ASKED.search(m.text))
        self.asked.append(turns[-1].text)
        if self.fails_on in turns[-1].text:
            raise BackendError("cannot", self.name)
        text = self.say(question, turns[-1].text)
        links = {f"{sender}-{self.node}": 100} if sender and sender != self.node else {}
        usage = Usage(requests=1, completion_tokens=3)
        return Answer(text=text, agent=self.name, usage=usage, bytes=links, seconds=0.01)

    async def stream(self, messages: Any, **how: Any) -> AsyncIterator[Delta | Answer]:
        yield await self.ask(messages, **how)


def key(text: str) -> tuple[int, int]:
    """Number and turn of the last question in ``text``."""
    number, turn = _ASKED.findall(text)[-1]
    return int(number), int(turn)


def device(index: int) -> StandIn:
    def say(question: str, last: str) -> str:
        if last.startswith("The joint answer is: "):
            return last.splitlines()[0].removeprefix("The joint answer is: ")
        number, turn = key(question)
        return f"a{number}.{turn}" if number % 5 == index else f"wrong{index}"

    return StandIn(DEVICES[index], say, about=f"things {index}")


def _serve(_: str, last: str) -> str:
    number, turn = key(last)
    if "Assistants:" in last:
        return f"{DEVICES[number % 5]}, {DEVICES[(number + 1) % 5]}"
    right = f"a{number}.{turn}"
    return right if f": {right}\n" in last + "\n" else "wrong merge"


def make_team() -> Team:
    server = StandIn("server", _serve, node="cloud")
    models = {name: f"stand-in:{name}" for name in (*DEVICES, "server")}
    return Team(server=server, devices=tuple(device(i) for i in range(5)), models=models, topology="here")


def make_suite() -> Suite:
    samples = [Sample(id=f"q{n}", category=f"c{n % 8}", turns=(f"q{n} t0", f"q{n} t1")) for n in range(20)]

    def score(sample: Sample, turn: int, text: str) -> float:
        return 100.0 * (text == f"a{sample.id[1:]}.{turn}")

    return Suite(name="nano", samples=samples, grade=by_rule(score))


@pytest.fixture
def team() -> Team:
    return make_team()


@pytest.fixture
def suite() -> Suite:
    return make_suite()


@pytest.fixture(scope="session")
def outcome(tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    """A whole run, which tests only read."""
    folder = tmp_path_factory.mktemp("runs")
    return asyncio.run(run_nano(make_team(), make_suite(), 7, out=folder, quiet=True))
