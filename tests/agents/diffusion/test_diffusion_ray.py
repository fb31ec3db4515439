"""The graphs over real processes: the results of one process, and nodes killed with SIGKILL in the middle of a run."""

import asyncio
import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny

from aiflow.agents.agent import Agent
from aiflow.agents.deployment import Deployment
from aiflow.agents.host import RayHost
from aiflow.cluster import Network
from aiflow.diffusion.files import load
from aiflow.errors import AgentDiedError, InputError
from aiflow.graphs import fetch, networked, parallel, serial

pytestmark = pytest.mark.timeout(180)


@pytest.fixture(scope="module")
def cluster(runtime: Any) -> Deployment:
    return Deployment(Network(runtime.topology), runtime)


async def kill(agent: Agent) -> None:
    await asyncio.sleep(0.5)
    assert isinstance(agent.host, RayHost)
    os.kill(await agent.host.actor.pid.remote(), signal.SIGKILL)


async def killed_after(step: str, agent: Agent, graph: Any, asked: Any, context: Any = None) -> dict[str, Any]:
    """A run whose ``agent`` is killed soon after a node of the graph is done: when it works on what comes next."""
    state: dict[str, Any] = {}
    async with asyncio.timeout(120), asyncio.TaskGroup() as group:
        async for mode, said in graph.astream(asked, context=context, stream_mode=["updates", "values"]):
            if mode == "values":
                state = said
            elif step in said:
                group.create_task(kill(agent))
    return state


async def closed(*agents: Agent) -> None:
    for agent in agents:
        await agent.close()


@pytest.mark.slow
async def test_serial(cluster: Deployment, tmp_path: Path) -> None:
    folder = tiny.motion(tmp_path / "motion")
    ins = cluster.agent("ins", node="phone", model=f"{folder}#ins")
    rec = cluster.agent("rec", node="laptop", model=f"{folder}#rec", pace=2.0)
    asked = {"prompt": tiny.PROMPT, "segments": [["solo", 0], ["interaction", 14]], "frames": 32, "steps": 4}
    await asyncio.gather(ins.ready(), rec.ready())
    graph = serial(ins, rec)
    usual = await graph.ainvoke(asked)  # type: ignore[arg-type]
    assert (usual["refined"], usual["marks"]) == (True, [])
    alone = await serial(ins, refine="none").ainvoke(asked)  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"aiflow\.graphs\.serial"):
        await ins.ask("hello")

    state = await killed_after("compose", rec, serial(ins, rec, grace=4.0), asked)
    assert state["refined"] is False
    assert "AgentDiedError" in state["marks"][0]
    assert state["result"]["digest"] != alone["result"]["digest"]  # an Estimate, not a Motion, of the same numbers
    assert np.array_equal((await fetch(state, cluster)).u, (await fetch(alone, cluster)).u)

    await rec.ready()
    again = await graph.ainvoke(asked | {"seed": 1})  # type: ignore[arg-type]
    assert (again["refined"], again["marks"]) == (True, [])
    await closed(ins, rec)
    with pytest.raises(AgentDiedError):
        await graph.ainvoke(asked)  # type: ignore[arg-type]


async def test_parallel(cluster: Deployment, tmp_path: Path) -> None:
    folder = tiny.depth(tmp_path / "depth")
    paces = {"encoder": None, "near": 2.0, "far": 2.0}
    nodes = dict(zip(paces, ("camera", "laptop", "tablet"), strict=True))
    parts = [cluster.agent(p, node=nodes[p], model=f"{folder}#{p}", pace=pace) for p, pace in paces.items()]
    await asyncio.gather(*(part.ready() for part in parts))
    graph = parallel(*parts, anchor=10.0, grace=4.0)
    state = await graph.ainvoke({}, context={"image": tiny.image()})
    expected = load(folder)(tiny.image(), anchor=10.0)
    made = await fetch(state, cluster)
    assert (state["marks"], state["used"]) == ([], ["near", "far"])
    assert np.array_equal(made.depth[made.valid], expected.depth[made.valid])
    state = await killed_after("encode", parts[2], graph, {}, {"image": tiny.image(1)})
    assert state["used"] == ["near"]
    assert any("depth without the far decoder" in mark for mark in state["marks"])
    await closed(*parts)


@pytest.mark.slow
async def test_networked(cluster: Deployment, tmp_path: Path) -> None:
    folder = tiny.video(tmp_path / "video")
    backbone = cluster.agent("backbone", node="edge", model=f"{folder}#backbone", pace={"video.Advance": 0.3})
    names = dict(zip(("rgb", "depth"), ("phone", "laptop"), strict=True))
    modalities = {name: cluster.agent(name, node=node, model=f"{folder}#{name}") for name, node in names.items()}
    await asyncio.gather(backbone.ready(), *(agent.ready() for agent in modalities.values()))
    graph = networked(backbone, modalities, plan="owner", grace=4.0)
    asked = {"prompt": tiny.SCENE, "steps": 5, "roles": dict.fromkeys(names, "generate")}
    usual = await graph.ainvoke(asked)  # type: ignore[arg-type]
    assert (usual["marks"], set(usual["result"])) == ([], {"rgb", "depth"})
    whole = load(folder)(tiny.SCENE, roles={"segment": "idle", "edges": "idle"}, num_inference_steps=5).videos
    for name, video in (await fetch(usual, cluster)).items():
        assert np.abs(video.clip - whole[name][0].numpy()).max() <= 1e-5

    state = await killed_after("conditions", modalities["rgb"], graph, asked | {"seed": 1})
    assert "depth" in state["result"]
    assert any(mark.startswith("rgb: ") for mark in state["marks"])
    assert state["missing"] == ([] if "rgb" in state["result"] else ["rgb"])

    state = await killed_after("conditions", backbone, graph, asked | {"seed": 2})
    assert state["tries"] == 2
    assert any("begun anew" in mark for mark in state["marks"])
    await closed(backbone, *modalities.values())
