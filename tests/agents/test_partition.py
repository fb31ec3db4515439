"""A model over several agents of one process, on simulated time: the text of the whole model, whoever leaves."""

import asyncio
from collections.abc import Coroutine
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest
from speakers import NAMES, tokenizer

from aiflow.agents import backends
from aiflow.agents.agent import Agent
from aiflow.agents.deployment import Deployment, connect
from aiflow.agents.host import LocalHost
from aiflow.agents.partition import Partitioned, partitioned
from aiflow.agents.partition.events import Staged
from aiflow.agents.partition.part import Part
from aiflow.agents.worker import Worker
from aiflow.bench.diffusion.unreliable import Fault, Unreliable
from aiflow.clock import VirtualClock
from aiflow.errors import (
    AgentDiedError,
    BudgetError,
    DeadlineError,
    InputError,
    TopologyError,
    UnfinishedError,
)
from aiflow.types import Delta, Options

HOME = """
nodes: {watch: {tier: device, memory: 600 KB}, phone: device, tablet: device, hub: edge}
links:
  - {between: [device, edge], rate: 1 MB/s, rtt: 10 ms}
  - {between: [device, device], rate: 500 KB/s, rtt: 4 ms}
"""
QUESTION = "what?"
LONG = {"max_tokens": 24}
PACE = (0.002, 0.0001)


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The folder of a random Llama of six blocks that speaks letters."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(4)
    config = LlamaConfig(
        vocab_size=len(NAMES), hidden_size=48, intermediate_size=64, num_hidden_layers=6, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=256, bos_token_id=0, eos_token_id=1, pad_token_id=2,
        initializer_range=0.4, tie_word_embeddings=True,
    )  # fmt: skip
    path: Path = tmp_path_factory.mktemp("six")
    LlamaForCausalLM(config).save_pretrained(path)
    tokenizer(NAMES).save_pretrained(path)
    return str(path)


def team(model: str, *nodes: str, clock: VirtualClock, pace: Any = PACE, **more: Any) -> tuple[Deployment, list[Agent]]:
    """Agents of its blocks, whose hosts can be made to fail, on these nodes."""
    cluster = connect(HOME, local=True, clock=clock)
    agents = []
    for node in nodes:
        agent = cluster.agent(node, node=node, model=f"blocks:{model}", pace=pace, **more)

        def make() -> Worker:
            return Worker(backends.create(f"blocks:{model}", clock=clock, pace=pace, **more), clock)

        agent.host = Unreliable(make)
        agents.append(agent)
    return cluster, agents


def simulated(clock: VirtualClock, work: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run(clock.run(work))


async def whole(model: str, options: Any = LONG) -> Any:
    cluster = connect(HOME, local=True, emulate=False)
    agent = cluster.agent("whole", node="hub", model=model)
    answer = await agent.ask(QUESTION, options=options)
    await cluster.aclose()
    return answer


@pytest.fixture(scope="session")
def said(model: str) -> str:
    """The whole model's greedy answer."""
    answer = asyncio.run(whole(model))
    assert len(answer.text) > 12
    return str(answer.text)


def host(agent: Agent) -> Unreliable:
    assert isinstance(agent.host, Unreliable)
    return agent.host


def part(agent: Agent) -> Part:
    assert isinstance(agent.host, LocalHost)
    found: Any = agent.host.worker.parts["partition"]
    return found


def spread(model: str, clock: VirtualClock, count: int, **more: Any) -> tuple[list[Agent], Partitioned]:
    """So many agents, and so little memory on each that all are needed."""
    _, agents = team(model, *("phone", "tablet", "hub")[:count], clock=clock, memory=MEMORY[count])
    return agents, partitioned(agents, tokens=64, sessions=2, **more)


BLOCK = (4 * 48 * 48 - 2 * 48 * 24 + 3 * 48 * 64 + 2 * 48) * 4.0
CACHE = 2 * 24 * 4 * 128.0
ENDS = (len(NAMES) + 1) * 48 * 4.0
MEMORY = {1: 7 * (BLOCK + CACHE) + 2 * ENDS, 2: 3 * (BLOCK + CACHE) + ENDS, 3: 3 * (BLOCK + CACHE) + ENDS}
"""Bytes with which one agent holds all, and two or three agents at most half."""


@pytest.mark.parametrize("count", [1, 2, 3])
def test_the_text_is_the_whole_models(model: str, said: str, count: int) -> None:
    clock = VirtualClock()
    agents, row = spread(model, clock, count)

    async def main() -> None:
        found = await row.ask(QUESTION, options=LONG, sender="hub")
        assert (found.text, found.epochs, found.recoveries) == (said, 1, ())
        assert found.stages[0].begin == 0
        assert found.stages[-1].end == 6
        assert len(found.stages) == min(2, count)
        assert [s.held for s in found.stages] == [part(a).peak for a in served(agents, found)]
        assert row.spent.answers == 1
        assert row.cut is not None
        assert len(row.cut.table().splitlines()) == len(found.stages) + 2
        tokens = found.usage.completion_tokens
        crossing = {s.node for s in found.stages}
        if len(crossing) == 2:
            assert sum(found.hidden.values()) > 48 * 4 * (found.usage.prompt_tokens + tokens - 1)
        before = found.bytes
        again = await row.ask(QUESTION, options=LONG, sender="hub")
        assert again.text == said
        assert abs(sum(again.bytes.values()) - sum(before.values())) < 3 * tokens  # times have more or fewer digits

    simulated(clock, main())
    whole_bytes = 6 * BLOCK + ENDS
    if count > 1:
        assert all(part(agent).peak < 0.6 * whole_bytes for agent in agents if agent.name in row.pool.held)


def served(agents: list[Agent], found: Staged) -> list[Agent]:
    return [next(agent for agent in agents if agent.name == stage.agent) for stage in found.stages]


def test_sampling_draws_what_the_whole_model_draws(model: str) -> None:
    options = {"max_tokens": 20, "temperature": 0.9, "top_p": 0.95, "seed": 11, "top_logprobs": 3}
    wanted = asyncio.run(whole(model, options))
    for at in (0, 9):
        clock = VirtualClock()
        _, row = spread(model, clock, 3)

        async def main(row: Partitioned = row, at: int = at) -> Staged:
            await row.ready()
            if at:
                victim = row.pool.row[-1][0]
                host(victim).fault = Fault(kind="die", at=host(victim).calls + at, calls=None)
            return await row.ask(QUESTION, options=options)

        found = simulated(clock, main())
        assert found.text == wanted.text
        assert found.epochs == 1 + bool(at)
        for own, theirs in zip(found.logprobs, wanted.logprobs, strict=True):
            assert [word for word, _ in own] == [word for word, _ in theirs]
            assert [p for _, p in own] == pytest.approx([p for _, p in theirs], abs=1e-4)


def test_a_stage_that_draws_anew_says_something_else(model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A control of the test above: without the count of the tokens that were said, the text after a loss differs."""
    options = {"max_tokens": 20, "temperature": 0.9, "seed": 11}
    wanted = asyncio.run(whole(model, options))
    monkeypatch.setattr("aiflow.collaboration.partition.client.replace", lambda law, said: law)  # noqa: ARG005
    clock = VirtualClock()
    _, row = spread(model, clock, 3)

    async def main() -> Staged:
        await row.ready()
        victim = row.pool.row[-1][0]
        host(victim).fault = Fault(kind="die", at=host(victim).calls + 9, calls=None)
        return await row.ask(QUESTION, options=options)

    found = simulated(clock, main())
    assert found.text != wanted.text
    assert found.text[:4] == wanted.text[:4]


@pytest.mark.parametrize("kind", ["die", "die after", "hang", "garble reply", "garble request"])
@pytest.mark.parametrize("stage", [0, 1])
@pytest.mark.parametrize("at", [1, 8])
def test_a_stage_is_lost(model: str, said: str, kind: Any, stage: int, at: int) -> None:
    """In the prefill, and in the middle of decoding; for ever."""
    clock = VirtualClock()
    _, row = spread(model, clock, 3, patience=2.0)

    async def main() -> Staged:
        await row.ready()
        victim = row.pool.row[stage][0]
        host(victim).fault = Fault(kind=kind, at=host(victim).calls + at, calls=None)
        found = await row.ask(QUESTION, options=LONG, deadline=60.0)
        assert victim.name not in [s.agent for s in found.stages]
        assert set(row.absent) == {victim.name}
        assert {r.agent for r in found.recoveries} == {victim.name}
        assert found.recoveries[0].tokens == at - 1
        return found

    found = simulated(clock, main())
    assert found.text == said
    assert found.epochs == len(found.recoveries) + 1 == 2
    assert clock.now() < 20


@pytest.mark.parametrize("kind", ["garble reply", "garble request"])
def test_a_damaged_message_costs_an_epoch_and_no_agent(model: str, said: str, kind: Any) -> None:
    clock = VirtualClock()
    _, row = spread(model, clock, 2)

    async def main() -> Staged:
        await row.ready()
        for place, (agent, _) in enumerate(row.pool.row):
            host(agent).fault = Fault(kind=kind, at=host(agent).calls + 3 + 4 * place)
        return await row.ask(QUESTION, options=LONG)

    found = simulated(clock, main())
    assert (found.text, found.epochs, len(found.stages), dict(row.absent)) == (said, 3, 2, {})


def test_who_is_back_is_used_from_the_next_request_on(model: str, said: str) -> None:
    clock = VirtualClock()
    _, row = spread(model, clock, 3, patience=1.0)

    async def main() -> None:
        await row.ready()
        first, second = [agent for agent, _ in row.pool.row]
        host(first).fault = Fault(kind="die", at=host(first).calls + 4, calls=None)
        one = await row.ask(QUESTION, options=LONG)
        (third,) = {"phone", "tablet", "hub"} - {first.name, second.name}
        assert {s.agent for s in one.stages} == {second.name, third}
        host(first).fault = None
        host(second).fault = Fault(kind="die", at=host(second).calls + 4, calls=None)
        two = await row.ask(QUESTION, options=LONG)
        assert {s.agent for s in two.stages} == {first.name, third}
        assert (one.text, two.text) == (said, said)

    simulated(clock, main())


def test_who_is_back_is_used_at_once(model: str, said: str) -> None:
    """The fast node dies for a moment; with ``rebalance`` it serves the rest of the same answer."""
    for rebalance in (True, False):
        clock = VirtualClock()
        cluster = connect(HOME, local=True, clock=clock)
        agents = [
            cluster.agent(node, node=node, model=f"blocks:{model}", pace=pace)
            for node, pace in (("hub", (0.001, 0.0)), ("phone", (0.2, 0.0)))
        ]
        fast = agents[0]
        fast.host = Unreliable(lambda c=clock: Worker(backends.create(f"blocks:{model}", clock=c, pace=(0.001, 0)), c))
        row = partitioned(agents, rebalance=rebalance, patience=1.0)

        async def main(row: Partitioned = row, fast: Agent = fast) -> Staged:
            await row.ready()
            host(fast).fault = Fault(kind="die", at=host(fast).calls + 4, calls=2)
            found = await row.ask(QUESTION, options=LONG)
            after = await row.ask(QUESTION, options=LONG)
            assert (after.text, [s.agent for s in after.stages], after.epochs) == (said, ["hub"], 1)
            return found

        found = simulated(clock, main())
        assert found.text == said
        assert [s.agent for s in found.stages] == (["hub"] if rebalance else ["phone"])
        assert found.epochs == (3 if rebalance else 2)


def test_too_little_memory_is_said(model: str, said: str) -> None:
    clock = VirtualClock()
    _, row = spread(model, clock, 2)

    async def lone() -> None:
        await row.ready()
        (first, _), (second, _) = row.pool.row
        host(second).fault = Fault(kind="die", at=host(second).calls + 6, calls=None)
        with pytest.raises(UnfinishedError, match=r"after 5 tokens .* too little") as error:
            await row.ask(QUESTION, options=LONG)
        assert isinstance(error.value.__cause__, BudgetError)
        assert error.value.answer.text == said[: len(error.value.answer.text)]
        assert error.value.answer.usage.completion_tokens == 5
        host(first).fault = Fault(kind="die", at=host(first).calls + 1, calls=None)
        with pytest.raises(UnfinishedError, match=r"after 0 tokens .* too little"):
            await row.ask(QUESTION, options=LONG, deadline=30.0)
        host(first).fault = host(second).fault = None
        assert (await row.ask(QUESTION, options=LONG)).text == said

    simulated(clock, lone())
    clock = VirtualClock()
    _, agents = team(model, "watch", "phone", clock=clock, memory=1000.0)
    with pytest.raises(BudgetError, match="too little"):
        simulated(clock, partitioned(agents, tokens=64).ask(QUESTION))


def test_a_nodes_memory_is_the_topologys(model: str, said: str) -> None:
    clock = VirtualClock()
    cluster, agents = team(model, "watch", "phone", clock=clock)
    tight = cluster.topology.nodes["watch"].memory
    assert tight is not None
    row = partitioned(agents, tokens=64, sessions=2, node="watch")
    found = simulated(clock, row.ask(QUESTION, options=LONG))
    assert found.text == said
    assert row.cut is not None
    assert all(share.nbytes <= tight for share in row.cut.shares if share.name == "watch")


def test_requests_at_once_do_not_meet(model: str) -> None:
    questions = ["a", "bcd", "what? " * 4, "zz", "y"]

    async def alone() -> list[str]:
        cluster = connect(HOME, local=True, emulate=False)
        agent = cluster.agent("whole", node="hub", model=model)
        return [(await agent.ask(q, options=LONG)).text for q in questions]

    wanted = asyncio.run(alone())
    clock = VirtualClock()
    _, row = spread(model, clock, 3)

    async def main() -> list[str]:
        await row.ready()
        victim = row.pool.row[0][0]
        host(victim).fault = Fault(kind="die", at=host(victim).calls + 25, calls=None)
        found = await asyncio.gather(*(row.ask(q, options=LONG) for q in questions))
        assert max(answer.epochs for answer in found) >= 2
        assert all(not part(agent).stage or not part(agent).stage.cached for agent, _ in row.pool.row)  # type: ignore[union-attr]
        return [answer.text for answer in found]

    assert simulated(clock, main()) == wanted


def test_it_is_an_agent(model: str, said: str) -> None:
    clock = VirtualClock()
    agents, row = spread(model, clock, 2, name="both", about="letters", options=LONG)

    async def main() -> None:
        pieces = []
        async with aclosing(row.stream(QUESTION, sender="hub")) as items:
            async for item in items:
                if isinstance(item, Delta):
                    pieces.append(item.text)
        assert isinstance(item, Staged)
        assert "".join(pieces) == item.text == said
        assert (row.name, row.about, row.node) == ("both", "letters", "phone")
        (tool,) = row.tools("hub")
        assert tool.name == "ask_both"
        assert await tool.ainvoke({"question": QUESTION}) == said
        short = await row.ask(QUESTION, options={"stop": [said[3:5]]})
        assert (short.text, short.finish) == (said[:3], "stop")
        with pytest.raises(DeadlineError, match="'both'"):
            await row.ask(QUESTION, deadline=0.02)
        stream = row.stream(QUESTION)
        await anext(stream)
        await stream.aclose()
        assert (await row.ask(QUESTION, options=Options(max_tokens=3))).finish == "length"

    simulated(clock, main())
    assert all(part(agent).stage.cached == 0 for agent in agents)  # type: ignore[union-attr]


def test_what_cannot_be_is_said(model: str) -> None:
    clock = VirtualClock()
    cluster, agents = team(model, "phone", "tablet", clock=clock)
    with pytest.raises(InputError, match="each once"):
        partitioned([agents[0], agents[0]])
    with pytest.raises(InputError, match="tokens=0"):
        partitioned(agents, tokens=0)
    with pytest.raises(TopologyError, match="is no node"):
        partitioned(agents, node="moon")
    other = cluster.agent("whole", node="hub", model=model)
    with pytest.raises(InputError, match="holds a whole model"):
        partitioned([*agents, other])
    with pytest.raises(InputError, match="holds some blocks"):
        simulated(clock, agents[0].ask(QUESTION))
    mixed = cluster.agent("half", node="hub", model=f"blocks:{model}", dtype="bfloat16")
    with pytest.raises(InputError, match="has other weights or another dtype"):
        simulated(clock, partitioned([*agents, mixed]).ask(QUESTION))
    with pytest.raises(InputError, match="room for 8"):
        simulated(clock, partitioned(agents, tokens=8).ask("a long question"))
    with pytest.raises(InputError, match="no option 'gpu'"):
        cluster.agent("x", node="hub", model=f"blocks:{model}", gpu=1)
    for agent in agents:
        host(agent).fault = Fault(kind="die", at=1, calls=None)
    with pytest.raises((AgentDiedError, UnfinishedError), match="none of 2 agents answers"):
        simulated(clock, partitioned(agents).ask(QUESTION))


async def test_a_real_network_is_crossed_through_the_asker(model: str, said: str) -> None:
    """Links are not emulated: what goes from stage to stage goes by the asker's node, and is counted so; in threads."""
    cluster = connect(HOME, local=True, emulate=False)
    agents = [cluster.agent(node, node=node, model=f"blocks:{model}", memory=MEMORY[2]) for node in ("phone", "tablet")]
    row = partitioned(agents, tokens=64, sessions=2, node="hub")
    one, two = await asyncio.gather(*(row.ask(QUESTION, options=LONG) for _ in range(2)))
    assert one.text == two.text == said
    assert set(one.bytes) == set(one.hidden) == {"phone-hub", "tablet-hub"}
    assert one.hidden["phone-hub"] == one.hidden["tablet-hub"] > 48 * 4 * one.usage.prompt_tokens
    await cluster.aclose()
