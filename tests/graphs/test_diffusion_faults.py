"""Nodes that fail at any call of any graph: a result that is what it says, or one agent's error; what nodes cost."""

import sys
from pathlib import Path
from typing import Any

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "agents" / "diffusion"))

import tiny

from aiflow.bench.diffusion import faults, homes, nodes
from aiflow.bench.diffusion.unreliable import KINDS, Fault, Unreliable
from aiflow.errors import QuorumError


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    home = tmp_path_factory.mktemp("pipelines")
    torch.set_num_threads(1)
    return {make.__name__: str(make(home / make.__name__)) for make in (tiny.motion, tiny.depth, tiny.video)}


def test_some_repetitions(folders: dict[str, str], capsys: Any) -> None:
    found = faults.main(repetitions=21, seed=3, folders=folders, json=True)
    assert (found["wrong"], found["unclear"], found["hung"]) == (0, 0, 0)
    assert sum(sum(row.values()) for row in found["graphs"].values()) == 21
    assert any("marked" in outcome for row in found["graphs"].values() for outcome in row)
    assert capsys.readouterr().out.splitlines()[-1].startswith('{"repetitions": 21')


async def ran(folders: dict[str, str], name: str, victim: str | None, fault: Fault) -> dict[str, Any]:
    state, arrays, _ = await faults._run(homes.scenarios()[name], folders, victim, fault)
    return state | {"arrays": arrays}


@pytest.mark.parametrize("kind", KINDS)
async def test_one_decoder_is_enough(folders: dict[str, str], kind: Any) -> None:
    fault = Fault(kind=kind, at=1, calls=None)
    near = await ran(folders, "parallel", "far", fault)
    assert near["used"] == ["near"]
    assert "depth without the far decoder" in near["marks"][-1]
    far = await ran(folders, "parallel", "near", fault)
    assert far["used"] == ["far"]
    fused = await ran(folders, "parallel", "fusion", fault)
    usual = await ran(folders, "parallel", None, fault)
    assert (usual["marks"], fused["used"]) == ([], ["near", "far"])
    assert "was asked instead" in fused["marks"][-1]
    assert all((fused["arrays"][name] == usual["arrays"][name]).all() for name in usual["arrays"])


async def test_no_decoder_is_an_error(folders: dict[str, str], monkeypatch: Any) -> None:
    monkeypatch.setattr(Fault, "strikes", lambda self, call: True)  # noqa: ARG005
    scenario = homes.scenarios()["parallel"]

    def both(encoder: Any, near: Any, far: Any, fusion: Any, **how: Any) -> Any:
        assert isinstance(near.host, Unreliable)
        near.host.fault = far.host.fault = Fault(kind="hang", at=1, calls=None)
        return scenario.build(encoder, near, far, fusion, **how)

    one = homes.Scenario(
        name="both", system="depth", parts=scenario.parts, build=both, asked={}, context=scenario.context
    )
    with pytest.raises(QuorumError, match="neither decoder answered"):
        await faults._run(one, folders, None, Fault(kind="hang", at=1))


async def test_a_node_is_restored(folders: dict[str, str]) -> None:
    usual = await ran(folders, "networked owner", None, Fault(kind="die", at=1))
    state = await ran(folders, "networked owner", "rgb", Fault(kind="die", at=4, calls=2))
    assert any("restored rgb" in mark for mark in state["marks"])
    assert state["roles_used"] == usual["roles_used"]
    assert state["missing"] == []
    gone = await ran(folders, "networked owner", "rgb", Fault(kind="die", at=4, calls=None))
    assert (gone["roles_used"]["rgb"], gone["missing"], gone["stale"]) == ("idle", ["rgb"], {"rgb": 1})
    assert set(gone["arrays"]) == {"segment", "edges"}


async def test_a_backbone_is_begun_anew(folders: dict[str, str]) -> None:
    for name in ("networked home", "networked owner"):
        usual = await ran(folders, name, None, Fault(kind="die", at=1))
        state = await ran(folders, name, "backbone", Fault(kind="die", at=6))
        assert state["tries"] == 2
        assert any("begun anew" in mark for mark in state["marks"])
        assert all((state["arrays"][one] == usual["arrays"][one]).all() for one in usual["arrays"])


async def test_one_backbone_goes_on_alone(folders: dict[str, str]) -> None:
    usual = await ran(folders, "networked cfg", None, Fault(kind="die", at=1))
    for victim in ("backbone", "backbone2"):
        state = await ran(folders, "networked cfg", victim, Fault(kind="hang", at=7, calls=None))
        assert (state["tries"], state["roles_used"], state["missing"]) == (1, usual["roles_used"], [])
        assert "the other backbone goes on alone" in state["marks"][0]
        assert all(abs(state["arrays"][one] - usual["arrays"][one]).max() < 1e-5 for one in usual["arrays"])


@pytest.mark.parametrize("system", ["motion", "depth", "video"])
def test_what_nodes_cost(folders: dict[str, str], system: str, monkeypatch: Any) -> None:
    monkeypatch.setattr(nodes, "REPEATS", 1)
    monkeypatch.setattr(nodes, "COMPARED", nodes.SECONDS[0])
    found = nodes.measure(system, folder=folders[system], steps=3)
    for graph in found["graphs"].values():
        assert graph["marks"] == []
        assert graph["difference"] <= 1e-5
        assert graph["bytes"] == sum(link["bytes"] for link in graph["links"].values())
        assert graph.get("plan", {"agrees": True})["agrees"]
        assert sum(node["calls"] for node in graph["nodes"].values()) > 0
    if system == "depth":
        for two in found["two_nodes"].values():
            assert 0.5 < two["without_links"] < two["rows"][-1]["ratio"] < two["rows"][0]["ratio"]
            assert two["on_the_wall_clock"]["ratio"] > two["without_links"]
