"""One node of a diffusion graph fails at any of its calls: there must be a result, marked, or one clear error.

Seeded: which graph, which node, at which call, how (it dies before or after its work, hangs, garbles), and whether it
comes back. Time is simulated, so that a deadline costs nothing; what is computed is real. A result without marks must
equal the undisturbed one bit for bit, and so must whatever the state calls undisturbed; the rest must be finite.
"""

import asyncio
import json as json_
import random
import sys
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from aiflow.agents.deployment import Deployment, connect
from aiflow.bench.diffusion import homes
from aiflow.bench.diffusion.homes import Scenario
from aiflow.bench.diffusion.unreliable import KINDS, Fault, Unreliable
from aiflow.clock import VirtualClock
from aiflow.errors import AgentError, AiflowError

DEADLINE, GRACE, PACE = 2.0, 1.0, 0.05
LONGEST = 120.0
"""Simulated seconds that no run may take."""
HANG = 60.0
"""Real seconds after which a run is called hung."""
Arrays = dict[str, np.ndarray[Any, Any]]


@dataclass(frozen=True, kw_only=True)
class Undisturbed:
    """The run without a fault: what its state says of its result, and how often each agent is called.

    ``results``: by what a state may say of them, those of runs without a dispensable part, too.
    """

    said: str
    results: Mapping[str, Arrays]
    calls: Mapping[str, int]


def main(
    *, repetitions: int = 200, seed: int = 0, folders: Mapping[str, str] | None = None, json: bool = False
) -> dict[str, Any]:
    """Prints, for each graph, how its runs ended. ``folders``: of pipelines by system; by default those that ship.

    Returns what ``json`` prints: ``wrong`` counts results that were not what they said, ``unclear`` errors that are no
    agent's, ``hung`` runs without end; all must be 0.
    """
    where = {system: system for system in ("motion", "depth", "video")} | dict(folders or {})
    outcomes = asyncio.run(_all(repetitions, seed, where))
    rows: dict[str, Counter[str]] = defaultdict(Counter)
    for name, outcome, _ in outcomes:
        rows[name][outcome] += 1
    ended = Counter(outcome.partition(":")[0] for _, outcome, _ in outcomes)
    print(f"{repetitions} runs, one fault in each")
    for name, row in rows.items():
        print(f"  {name:<16} " + ", ".join(f"{count} {outcome}" for outcome, count in sorted(row.items())))
    slowest = max((seconds for _, _, seconds in outcomes), default=0.0)
    found = {
        "repetitions": repetitions,
        "seed": seed,
        "wrong": ended["wrong"],
        "unclear": ended["unclear"],
        "hung": ended["hung"],
        "slowest_s": slowest,
        "deadline_s": DEADLINE,
        "graphs": {name: dict(row) for name, row in rows.items()},
    }
    print(
        f"wrong {found['wrong']}, unclear {found['unclear']}, hung {found['hung']}; slowest {slowest:.2f} s (simulated)"
    )
    if json:
        print(json_.dumps(found))
    return found


async def _all(repetitions: int, seed: int, where: Mapping[str, str]) -> list[tuple[str, str, float]]:
    known, outcomes = homes.scenarios(), []
    usual: dict[str, Undisturbed] = {}
    for number in range(repetitions):
        rng = random.Random(f"{seed}/{number}")
        name = list(known)[number % len(known)]
        if name not in usual:
            usual[name] = await _undisturbed(known[name], where)
        victim = rng.choice(list(known[name].parts))
        kind: Any = rng.choice(KINDS)
        fault = Fault(kind=kind, at=rng.randint(1, usual[name].calls[victim]), calls=rng.choice([1, 2, 5, None]))
        outcome, seconds = await _one(known[name], where, usual[name], victim, fault)
        if outcome.startswith(("wrong", "unclear", "hung")):
            print(f"run {number}: {name}, {victim}, {fault}: {outcome}", file=sys.stderr)
        outcomes.append((name, outcome, seconds))
    return outcomes


async def _undisturbed(scenario: Scenario, where: Mapping[str, str]) -> Undisturbed:
    state, arrays, home = await _run(scenario, where, None, Fault(kind="die", at=1))
    said = _said(scenario, state)
    calls = {name: agent.host.calls for name, agent in home.agents.items()}  # type: ignore[attr-defined]
    results = {said: arrays}
    for part in _dispensable(scenario):
        state, arrays, _ = await _run(scenario, where, part, Fault(kind="die", at=1, calls=None))
        results[_said(scenario, state)] = arrays
    return Undisturbed(said=said, results=results, calls=calls)


async def _one(
    scenario: Scenario, where: Mapping[str, str], usual: Undisturbed, victim: str, fault: Fault
) -> tuple[str, float]:
    try:
        async with asyncio.timeout(HANG):
            state, arrays, home = await _run(scenario, where, victim, fault)
    except TimeoutError as error:
        if isinstance(error, AgentError):
            return f"error {type(error).__name__}", 0.0
        return "hung", HANG
    except AgentError as error:
        return f"error {type(error).__name__}", 0.0
    except AiflowError as error:
        return f"unclear: {type(error).__name__}: {error}", 0.0
    seconds = home.network.clock.now()
    if seconds > LONGEST:
        return "hung", seconds
    said, marks = _said(scenario, state), state["marks"]
    if said in usual.results:
        if not _equal(arrays, usual.results[said]):
            return f"wrong: it is not what it says ({said})", seconds
        if not marks:
            return "unharmed" if said == usual.said else f"wrong: no mark ({said})", seconds
        return "marked, as undisturbed" if said == usual.said else "marked, without a part", seconds
    sound = all(np.isfinite(array).all() for array in arrays.values())
    return "marked, gone on otherwise" if marks and sound else f"wrong: neither marked nor sound ({said})", seconds


async def _run(
    scenario: Scenario, where: Mapping[str, str], victim: str | None, fault: Fault
) -> tuple[dict[str, Any], Arrays, Deployment]:
    """One run with the result fetched. Raises what the graph raises."""
    from aiflow.graphs import fetch

    clock = VirtualClock()
    home = connect(homes.TOPOLOGY, local=True, clock=clock)
    agents = {}
    for name, (role, node) in scenario.parts.items():

        def make(role: str = role) -> Any:
            return homes.worker(home, scenario.system, role, where[scenario.system], PACE)

        agents[name] = homes.place(home, name, node, Unreliable(make, fault if name == victim else None))
    graph = scenario.build(**agents, deadline=DEADLINE, grace=GRACE)

    async def both() -> Any:
        state = await graph.ainvoke(dict(scenario.asked) | {"request": "r"}, context=dict(scenario.context))
        return state, await fetch(state, home, deadline=DEADLINE)

    state, found = await clock.run(both())
    return state, _arrays(scenario, found), home


def _dispensable(scenario: Scenario) -> list[str]:
    """The parts that a graph does without in one defined way."""
    return {"motion": ["rec"], "depth": ["near", "far"], "video": ["depth"]}[scenario.system]


def _said(scenario: Scenario, state: Mapping[str, Any]) -> str:
    """What a state says of its result."""
    if scenario.system == "motion":
        return "refined" if state["refined"] else "not refined"
    if scenario.system == "depth":
        return f"{' and '.join(state['used'])} at {state['anchors']}"
    said = [f"{name}: {role}" for name, role in state["roles_used"].items()]
    said += [f"{name} stale" for name in state["stale"]] + [f"no {name}" for name in state["missing"]]
    other = [mark for mark in state["marks"] if "from a snapshot" in mark or "goes on alone" in mark]
    return ", ".join(said + (["restored"] if other else []))


def _arrays(scenario: Scenario, found: Any) -> Arrays:
    if scenario.system == "motion":
        return {"u": found.u}
    if scenario.system == "depth":
        return {"depth": found.depth, "valid": found.valid}
    return {name: video.clip for name, video in found.items()}


def _equal(mine: Arrays, theirs: Arrays) -> bool:
    return mine.keys() == theirs.keys() and all(np.array_equal(mine[name], theirs[name]) for name in mine)


if __name__ == "__main__":
    main(json="--json" in sys.argv)
