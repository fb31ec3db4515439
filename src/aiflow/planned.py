"""Prints which way a question would be answered on a topology, and why not the others; places and measures agents."""

import contextlib
import json as jsonlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aiflow.agents.home import home_topology
from aiflow.cluster.profiles import NodeProfile, Profiles
from aiflow.cluster.topology import Topology
from aiflow.collaboration.planning.option import Option, Plan
from aiflow.collaboration.planning.placement import Placed, Room, Seat, place
from aiflow.collaboration.planning.task import Task
from aiflow.errors import AiflowError, InputError, UsageError
from aiflow.types import Image
from aiflow.units import show_bytes

if TYPE_CHECKING:
    from aiflow.agents.agent import Agent


def plan(
    *, topology: str, profiles: Path, task: Task, device: str | None, team: Sequence[str], every: bool, json: bool
) -> Plan:
    """Prints the choice as a table, the soonest way first; with ``json`` one JSON object. Raises UsageError."""
    from aiflow.graphs.workflows.planner import Planner

    planner = Planner(Profiles.load(profiles), _topology(topology), device=device, team=team)
    found = planner.plan(task, 0.0)
    if json:
        print(jsonlib.dumps(as_json(found)))
    else:
        _show(found, every)
    return found


def as_json(plan: Plan) -> dict[str, Any]:
    """The choice and all options."""
    return {
        "chosen": _option(plan.chosen),
        "reason": plan.reason,
        "late": plan.late,
        "waits": plan.waits,
        "options": [_option(option) for option in plan.options],
    }


def placed(*, topology: str, profiles: Path, task: Task, json: bool) -> list[Placed]:
    """Prints where the profiled agents belong, by memory and speed. Raises BudgetError where they do not fit."""
    nodes = _topology(topology).nodes
    known = Profiles.load(profiles)
    for profile in known.agents:
        if profile.node not in nodes:
            raise InputError(f"agent {profile.agent!r} is profiled on {profile.node!r}, which is no node of it.")
    seats = [_seat(profile, task, nodes[profile.node].speed) for profile in known.agents]
    found = place(seats, [Room(name=name, memory=node.memory, speed=node.speed) for name, node in nodes.items()])
    if json:
        print(jsonlib.dumps([{"agent": p.agent, "node": p.node, "why": p.why} for p in found]))
    else:
        _table("Placement", ("agent", "node", "why"), [[p.agent, p.node, p.why] for p in found])
    return found


async def measured(*, topology: str, models: Sequence[str], out: Path) -> Profiles:
    """Puts each ``NODE=MODEL`` on its node in this process, measures it, and writes ``out``. Raises UsageError."""
    from aiflow.agents.deployment import connect
    from aiflow.graphs.workflows.measuring import acceptance, begun, profile, settings

    pairs = [_placed(text) for text in models]
    async with connect(_topology(topology), local=True, emulate=False) as cluster:
        agents = [cluster.agent(node, node=node, model=model) for node, model in pairs]
        found = {agent.name: await profile(agent, image=_picture()) for agent in agents}
        tiers = [cluster.topology.nodes[agent.node].tier for agent in agents]
        drafts, ways = [], []
        for lower, upper in _pairs(agents, tiers):
            with contextlib.suppress(InputError):  # other tokenizers
                drafts.append(await acceptance(lower, upper))
                found[lower.name] = begun(found[lower.name], found[upper.name], drafts[-1])
            with contextlib.suppress(AiflowError):  # no codec, or not the same
                ways += await settings(lower, upper)
    profiles = Profiles(agents=tuple(found.values()), pairs=tuple(drafts), settings=tuple(ways))
    profiles.save(out)
    return profiles


def _pairs(agents: Sequence["Agent"], tiers: Sequence[str]) -> list[tuple["Agent", "Agent"]]:
    order = {"device": 0, "edge": 1, "cloud": 2}
    ranked = list(zip(agents, tiers, strict=True))
    return [(a, b) for a, low in ranked for b, high in ranked if order[low] < order[high]]


def _picture() -> Image:
    """A small one: how long a model looks hardly depends on what it sees."""
    import io

    import PIL.Image

    raw = io.BytesIO()
    PIL.Image.new("RGB", (64, 64), (90, 120, 200)).save(raw, "PNG")
    return Image(raw.getvalue())


def _placed(text: str) -> tuple[str, str]:
    node, equals, model = text.partition("=")
    if not equals or not node or not model:
        raise UsageError(f"{text!r} is no NODE=MODEL; write it like phone=aiflow:nano/math.")
    return node, model


def _topology(name: str) -> Topology:
    return Topology.load(home_topology() if name == "home" else name)


def _seat(profile: NodeProfile, task: Task, speed: float) -> Seat:
    work = profile.start + task.prompt_tokens / profile.prefill + task.output_tokens * profile.decode
    return Seat(name=profile.agent, memory=profile.memory, work=work * speed)


def _option(option: Option) -> dict[str, Any]:
    return {
        "mode": option.mode,
        "parties": list(option.parties),
        "parameters": {**option.parameters, **option.tuned},
        "seconds": option.seconds,
        "slow_seconds": option.slow,
        "bytes": {link: round(size) for link, size in option.bytes.items()},
        "quality": option.quality,
        "exact": option.exact,
        "why_not": option.why_not,
    }


def _show(plan: Plan, every: bool) -> None:
    options = plan.options if every else _one_each(plan)
    rows = [
        [
            f"{'>' if o.key == plan.chosen.key else ' '} {o.mode}",
            " > ".join(o.parties),
            ", ".join(f"{name} {value}" for name, value in {**o.parameters, **o.tuned}.items() if value is not True),
            f"{o.seconds:.2f}",
            f"{o.slow:.2f}",
            show_bytes(o.total_bytes),
            f"{o.quality:.2f}{' =' if o.exact else ''}",
            o.why_not,
        ]
        for o in options
    ]
    heads = ("mode", "agents", "parameters", "s", "s, bad moment", "bytes", "quality", "why not")
    _table("Ways to answer", heads, rows)
    print(f"{plan.chosen.mode}: {plan.reason}" + ("; it waits for what is down" if plan.waits else ""))


def _one_each(plan: Plan) -> list[Option]:
    """The soonest possible option of each mode and its agents, or the soonest of those that are not."""
    found: dict[Any, Option] = {}
    ranked = sorted(plan.options, key=lambda o: (o.key != plan.chosen.key, o.seconds))
    for option in ranked:
        found.setdefault((option.mode, option.parties), option)
    return sorted(found.values(), key=lambda o: o.seconds)


def _table(title: str, heads: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for name in heads:
        table.add_column(name, justify="right" if name in ("s", "s, bad moment", "bytes", "quality") else "left")
    for row in rows:
        table.add_row(*(escape(cell) for cell in row))
    console = Console()
    (console if console.is_terminal else Console(width=160)).print(table)
