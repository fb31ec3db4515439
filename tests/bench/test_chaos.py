"""The verdict of the chaos benchmark on made-up runs, its timetable of faults, and its graph without a cluster."""

import random

import pytest

from aiflow import aio
from aiflow.agents.deployment import connect
from aiflow.bench import chaos
from aiflow.bench.chaos import graph as fire
from aiflow.bench.chaos import verdict
from aiflow.bench.chaos.faults import KINDS, plan
from aiflow.bench.chaos.play import Run
from aiflow.errors import UsageError

IDS = [f"r{n}" for n in range(6)]


def _run(texts: dict[str, str], ends: list[float] | None = None, *faults: dict[str, object], twice: str = "") -> Run:
    lines = [{"id": id, "answer": text} for id, text in texts.items()]
    lines += [line for line in lines if line["id"] == twice]
    return Run(began=0, ended=9, lines=lines, ends=ends or [], summary={}, faults=list(faults))


def test_each_mishap_is_seen() -> None:
    calm = _run({id: f"text {id}" for id in IDS})
    good = {line["id"]: line["answer"] for line in calm.lines}
    assert verdict.compare(IDS, calm, calm) == {
        "requests": 6, "lost": 0, "doubled": 0, "mixed": 0, "wrong_text": 0, "strangers": 0, "swap_seen": 1.0,
    }  # fmt: skip
    for texts, twice, name in (
        ({id: text for id, text in good.items() if id != "r3"}, "", "lost"),
        (good, "r2", "doubled"),
        ({**good, "r1": good["r4"]}, "", "mixed"),
        ({**good, "r1": "nobody's"}, "", "wrong_text"),
        ({**good, "r9": "?"}, "", "strangers"),
    ):
        found = verdict.compare(IDS, calm, _run(texts, twice=twice))
        assert {key for key in ("lost", "doubled", "mixed", "wrong_text", "strangers") if found[key]} == {name}


def test_recovery() -> None:
    ends = [n * 0.1 for n in range(1, 101)] + [14.0 + n * 0.1 for n in range(1, 101)]  # nothing from 10 to 14 s
    fault = {"kind": "head", "what": "cloud", "answered": 100, "at": 10.0, "broken": 10.1, "mended": 13.0}
    rows = verdict.recoveries(_run({}, ends, fault), usual=10.0)
    assert [(row["pause_s"], row["mended_s"]) for row in rows] == [(4.1, 3.0)]
    assert rows[0]["recovered_s"] == pytest.approx(4.1, abs=0.01)
    assert verdict.by_kind(rows)["head"]["pause_s"] == {"median": 4.1, "longest": 4.1}
    slow = [n * 0.1 for n in range(1, 101)] + [10.0 + n * 1.0 for n in range(1, 30)]  # never half as fast again
    (row,) = verdict.recoveries(_run({}, slow, fault), usual=10.0)
    assert row["recovered_s"] is None


def test_the_timetable() -> None:
    each = dict(zip(KINDS, range(1, 7), strict=True))
    found = plan(500, each, random.Random(3))
    assert {kind: sum(other == kind for _, other in found) for kind in KINDS} == each
    moments = [moment for moment, _ in found]
    assert moments == sorted(moments)
    assert 0 < moments[0] < moments[-1] < 500
    with pytest.raises(UsageError, match="'heda=1' is not KIND=COUNT; did you mean 'head'"):
        chaos.main(faults=["heda=1"])


def test_the_graph_asks_both_roles_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aiflow.bench.chaos.graph.MODEL", "scripted:{question}")
    with connect(chaos.TOPOLOGY, local=True, emulate=False) as cluster:
        graph = fire.chaos(cluster).compile()
        state = aio.run(graph.ainvoke({"messages": [("user", fire.question(["b", "a"]))]}))
        assert [step["step"] for step in state["trace"]] == ["sort", "turn"] * (fire.STEPS // 2)
        assert all(step["node"] in cluster.topology.nodes for step in state["trace"])
        assert state["messages"][-1].content.endswith("Sort these words: b, a")
