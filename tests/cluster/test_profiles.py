"""Profiles: measured on a model whose speeds are known and on a real one, files, and what files cannot say."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from aiflow.agents.deployment import connect
from aiflow.clock import VirtualClock
from aiflow.cluster import profiles
from aiflow.cluster.profiles import NodeProfile, Profiles, measure, memory_of
from aiflow.errors import DataError, InputError, TopologyError
from aiflow.nano import WEIGHTS
from aiflow.types import Answer, Message, Options, Usage

PHONE = {"agent": "phone", "node": "phone", "prefill": 100.0, "decode": 0.1}


class Known:
    """Answers in exactly 0.05 s and 2 ms for each token of the prompt, 30 ms for each further one of the answer."""

    name, node = "known", "phone"

    def __init__(self, most: int = 10_000) -> None:
        self.most = most

    async def ask(self, messages: Any, *, options: Options | None = None, deadline: float | None = None) -> Answer:  # noqa: ARG002
        turns: list[Message] = messages
        prompt, said = len(turns[-1].text.split()) + 5, min(self.most, options.max_tokens if options else 1)
        seconds = 0.05 + 0.002 * prompt + 0.03 * (said - 1)
        return Answer(text="x", usage=Usage(prompt_tokens=prompt, completion_tokens=said, seconds=seconds))


async def test_known_speeds_are_found() -> None:
    found = await measure(Known(), memory=3.0, model="m")
    assert found.prefill == pytest.approx(500, rel=0.01)
    assert found.decode == pytest.approx(0.03, rel=0.01)
    assert found.start == pytest.approx(0.05, rel=0.02)
    assert (found.agent, found.node, found.memory, found.model) == ("known", "phone", 3.0, "m")


async def test_a_model_that_says_one_token_cannot_be_measured() -> None:
    with pytest.raises(InputError, match="no more than one token"):
        await measure(Known(most=1))


async def test_a_real_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(profiles, "PROMPTS", (8, 96))
    monkeypatch.setattr(profiles, "OUTPUTS", (1, 12))
    async with connect("nodes: {phone: device}", local=True) as cluster:
        agent = cluster.agent("math", node="phone", model="aiflow:nano/math")
        found = await measure(agent, repeats=1, memory=memory_of(WEIGHTS / "math"))
    assert 0 < found.decode < 1
    assert found.prefill > 1 / found.decode  # a prompt is read in parallel
    assert found.memory > 100_000


def test_a_simulated_agent_is_measured_on_its_clock() -> None:
    clock = VirtualClock()
    cluster = connect("nodes: {phone: device}", local=True, clock=clock)
    agent = cluster.agent("slow", node="phone", model="scripted:echo", delay=0.2, token_delay=0.05)
    found = asyncio.run(clock.run(measure(agent, repeats=1)))
    assert found.decode == pytest.approx(0.05, rel=0.3)


def test_a_file_says_what_was_measured(tmp_path: Path) -> None:
    known = Profiles(
        agents=[{**PHONE, "exits": [{"exit": 2, "prefill": 50, "decode": 0.1, "acceptance": 0.5}]}],
        pairs=[{"draft": "phone", "judge": "cloud", "acceptance": 0.7}],
    )
    known.save(tmp_path / "p.json")
    assert Profiles.load(tmp_path / "p.json") == known
    assert known.of("phone") == known.agents[0]
    with pytest.raises(InputError, match="cloud"):
        known.of("cloud")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "not a file of profiles"),
        ("[]", "begin with"),
        ('{"agents": 3}', "agents"),
        ('{"agent": []}', "unknown key"),
    ],
)
def test_files_that_are_none(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "p.json"
    path.write_text(text)
    with pytest.raises((DataError, TopologyError), match=says):
        Profiles.load(path)
    with pytest.raises(DataError, match="No such file"):
        Profiles.load(tmp_path / "none.json")


@pytest.mark.parametrize(
    "wrong", [{"decode": 0}, {"prefill": -1}, {"slots": 0}, {"speed": 3}, {"encode": float("nan")}]
)
def test_profiles_that_cannot_be(wrong: dict[str, Any]) -> None:
    with pytest.raises(TopologyError, match=next(iter(wrong))):
        NodeProfile(**{**PHONE, **wrong})
