"""Deployments without Ray: names, nodes, models, defaults, tools; each mistake is one line."""

from pathlib import Path
from typing import Any

import pytest

from aiflow.agents.deployment import Deployment, connect
from aiflow.clock import VirtualClock
from aiflow.errors import CredentialError, InputError, TopologyError, UnknownAgentError, UnknownModelError
from aiflow.types import Options


def test_agents_by_name(here: Deployment) -> None:
    math = here.agent("math", node="phone", model="scripted:4", about="arithmetic", options={"temperature": 0.5})
    assert (math.name, math.node, math.about) == ("math", "phone", "arithmetic")
    assert math.options == Options(temperature=0.5)
    assert here["math"] is math
    assert list(here.agents) == ["math"]
    assert here.topology is here.network.topology
    with pytest.raises(TypeError):
        here.agents["x"] = math  # type: ignore[index]
    with pytest.raises(UnknownAgentError, match="there is no agent 'maths'; did you mean 'math'"):
        here["maths"]


GOOD: dict[str, Any] = {"name": "new", "node": "phone", "model": "scripted:"}
BAD: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"name": ""}, InputError, "'' cannot name an agent"),
    ({"name": "a\nb"}, InputError, "cannot name an agent"),
    ({"name": 5}, InputError, "5 cannot name an agent"),
    ({"name": "old"}, InputError, "already an agent 'old'"),
    ({"node": "phnoe"}, TopologyError, "'phnoe' is no node; did you mean 'phone'"),
    ({"node": None}, TopologyError, "None"),
    ({"model": "./nowhere"}, UnknownModelError, "nowhere"),
    ({"model": "https://api.example.com/v1#m"}, CredentialError, "OPENAI_API_KEY"),
    ({"about": 3}, InputError, "about must be text"),
    ({"options": {"max_tokens": 0}}, InputError, "max_tokens=0"),
    ({"options": {"tempurature": 0}}, InputError, "did you mean 'temperature'"),
    ({"dely": 3}, InputError, "did you mean 'delay'"),
]


@pytest.mark.parametrize(("change", "error", "match"), BAD, ids=str)
def test_bad_agents(
    here: Deployment, monkeypatch: pytest.MonkeyPatch, change: dict[str, Any], error: type[Exception], match: str
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    here.agent("old", node="hub", model="scripted:")
    with pytest.raises(error, match=match) as caught:
        here.agent(**{**GOOD, **change})
    assert "\n" not in str(caught.value)
    assert list(here.agents) == ["old"]


def test_bad_connections(tmp_path: Path) -> None:
    for source, match in ((tmp_path / "nowhere.yaml", "nowhere"), (5, "a file or a Topology"), ({"nods": {}}, "nods")):
        with pytest.raises(TopologyError, match=match):
            connect(source, local=True)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="pass local=True"):
        connect("nodes: {phone: device}\n", clock=VirtualClock())


async def test_closing() -> None:
    async with connect({"nodes": {"phone": "device"}}, local=True) as deployment:
        deployment.agent("a", node="phone", model="scripted:")
        await deployment.ready()
    assert not deployment.agents
    with connect({"nodes": {"phone": "device"}}, local=True) as deployment:
        deployment.agent("a", node="phone", model="scripted:")
        deployment.ready_sync()
    assert not deployment.agents


async def test_tools(here: Deployment) -> None:
    agent = here.agent("my math", node="hub", model="scripted:it is {question}", about="arithmetic")
    (tool,) = agent.tools(sender="phone")
    assert tool.name == "ask_my_math"
    assert "arithmetic" in tool.description
    assert list(tool.args) == ["question"]
    assert await tool.ainvoke({"question": "4"}) == "it is 4"
    assert here.network.totals()["phone-hub"] > 0
    agent.abilities.append(lambda _: tool)
    assert [t.name for t in agent.tools()] == ["ask_my_math", "ask_my_math"]


def test_tools_of_synchronous_callers(here: Deployment) -> None:
    agent = here.agent("echo", node="hub", model="scripted:echo")
    assert agent.tools()[0].invoke({"question": "4"}) == "4"
