"""Plans how each question is answered, from profiles and from what it has observed so far of links and agents.

It is told of transfers, computations, judged drafts and failures (by whoever sees them) with the time of the moment,
and keeps estimates; `collaboration.planning` knows what each way costs with them. Knows no agents, clocks or LangGraph.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from math import log
from typing import Any
from weakref import WeakSet

from aiflow.cluster.estimates import Direction, Level
from aiflow.cluster.network import Network
from aiflow.cluster.profiles import NodeProfile, Profiles
from aiflow.cluster.topology import TIERS, Topology
from aiflow.collaboration.decoding.costs import Acceptance
from aiflow.collaboration.planning.choose import choose
from aiflow.collaboration.planning.option import Key, Option, Plan
from aiflow.collaboration.planning.prior import gain
from aiflow.collaboration.planning.state import Exit, Hop, Line, Party, Speeds, State
from aiflow.collaboration.planning.task import Task
from aiflow.collaboration.tofc.control import Setting
from aiflow.errors import InputError

PROBE_BYTES = 4096
"""Of the message that looks after a server of which nothing has been heard for a while."""
EVERY, SOON = 2.0, 0.5
"""Seconds without news after which a server is looked after, and between two looks while it is silent."""
EXTRA = 0.25
"""Seconds beyond the bad case after which another way is tried beside the one under way."""
WAITING = 100
"""Tokens that a waiting request is taken to have."""
MOVED = log(1.25)
"""By how much an estimate must have moved to count as a change."""


class Planner:
    """For one device, the servers it may ask and the team of a collaboration."""

    def __init__(
        self,
        profiles: Profiles,
        topology: Topology,
        *,
        device: str | None = None,
        servers: Sequence[str] | None = None,
        team: Sequence[str] = (),
        keep: bool = True,
    ) -> None:
        """Agents by name; None: the first profile on the device tier, and all on edge and cloud, in this order.

        ``keep``: whether a way is kept until another is clearly sooner. Raises InputError for agents without a profile
        or a node that the topology lacks.
        """
        self.profiles, self.topology, self._keep = profiles, topology, keep
        for profile in profiles.agents:
            if profile.node not in topology.nodes:
                raise InputError(f"agent {profile.agent!r} is profiled on {profile.node!r}, which is no node of it.")
        self.device = profiles.of(device or self._on("device")[0].agent)
        names = [p.agent for tier in TIERS[1:] for p in self._on(tier, none=True)] if servers is None else servers
        self.servers = tuple(profiles.of(name) for name in names)
        self.team = tuple(profiles.of(name) for name in team)
        self.version = 0
        """Goes up when a link or an agent has changed so much that a plan may be another."""
        self._lines = {hop: _configured(wire, hop[1]) for wire in topology.wires().values() for hop in _both(wire.name)}
        everybody = {p.agent: p for p in (self.device, *self.servers, *self.team)}
        self._loads = {name: Level() for name in everybody}
        self._down: dict[str, str] = {}
        self._acceptance = {
            (p.draft, p.judge): Acceptance(prior=p.acceptance, weight=64, half_life=512) for p in profiles.pairs
        }
        self._exits = {e.exit: Acceptance(prior=e.acceptance, weight=64, half_life=512) for e in self.device.exits}
        self._routes = _routes(topology, {p.node for p in everybody.values()})
        self._parties = {name: _party(profile) for name, profile in everybody.items()}
        self._settings = _settings(profiles)
        self._last: dict[Any, Key] = {}
        self._looked: dict[str, float] = {}
        self._marks: dict[Any, float] = {}
        self._watched: WeakSet[Network] = WeakSet()

    def watch(self, network: Network) -> None:
        """Learns from all that this network carries from now on; calling it again changes nothing."""
        if network not in self._watched:
            self._watched.add(network)
            clock = network.clock
            network.watchers.append(lambda a, b, size, took: self.transferred(a, b, size, took, clock.now()))

    def plan(self, task: Task, now: float, *, without: Iterable[Key] = ()) -> Plan:
        """The way to take; ``without``: ways that have just failed. Raises InputError where none is possible."""
        kind = task.quality, task.exact, bool(task.image_bytes)
        state, barred = self.state(now), set(without)
        last = self._last.get(kind) if self._keep else None
        try:
            plan = choose(task, state, last=last, barred=barred)
        except InputError:
            plan = replace(choose(task, state.hopeful(), last=last), waits=True)
        self._last[kind] = plan.chosen.key
        return plan

    def state(self, now: float) -> State:
        """What is known at the moment."""
        parties = {name: self._party(name, now) for name in self._parties}
        return State(
            device=parties[self.device.agent],
            servers=tuple(parties[p.agent] for p in self.servers),
            team=tuple(parties[p.agent] for p in self.team),
            lift=self.profiles.lift,
            lines={hop: _line(one, now) for hop, one in self._lines.items()},
            routes=self._routes,
            acceptance={pair: one.value for pair, one in self._acceptance.items()},
            settings=self._settings,
            free={name: node.memory for name, node in self.topology.nodes.items() if node.memory is not None},
        )

    def unloaded(self, agent: str) -> Party:
        """An agent as its profile says."""
        return self._parties[agent]

    def patience(self, option: Option) -> float:
        """Seconds after which an option under way is late."""
        return option.slow + EXTRA

    def transferred(self, link: str, against: bool, nbytes: float, seconds: float, now: float) -> None:
        """A message crossed a link in so many seconds. One of the network's watchers."""
        line = self._lines[link, against]
        self.version += line.down
        line.add(nbytes, seconds, now)
        self._moved(("rate", link, against), log(line.rate(now).value))

    def limit(self, link: str, against: bool, nbytes: float, now: float) -> float:
        """Seconds after which a message that has not crossed a link means that it is down."""
        return self._lines[link, against].limit(nbytes, now)

    def expected(self, link: str, against: bool, nbytes: float) -> float:
        """Seconds of a message on a link."""
        return self._lines[link, against].expected(nbytes)

    def heard(self, link: str, against: bool) -> float:
        """When something crossed a link last; -inf: never."""
        return self._lines[link, against].seen

    def silent(self, link: str, against: bool, now: float) -> None:
        """A message has not crossed a link within its limit."""
        self.version += not self._lines[link, against].down
        self._lines[link, against].late(now)

    def computed(self, agent: str, nominal: float, seconds: float, now: float) -> None:
        """An agent took ``seconds`` for what takes ``nominal`` by its profile; it lives."""
        if nominal > 0 and seconds > 0:
            self._loads[agent].add(max(0.05, seconds / nominal), now)
            self._moved(("load", agent), log(self._loads[agent].at(now).value))
        self.returned(agent)

    def judged(self, drafter: str, judge: str, accepted: int, refused: int, now: float = 0.0) -> None:  # noqa: ARG002
        """Drafts stood or fell."""
        if (drafter, judge) in self._acceptance:
            self._acceptance[drafter, judge].add(accepted, refused)

    def judged_exit(self, exit_: int, accepted: int, refused: int, now: float = 0.0) -> None:  # noqa: ARG002
        """Tokens of the branch at an exit stood or fell."""
        if exit_ in self._exits:
            self._exits[exit_].add(accepted, refused)

    def lost(self, agent: str, why: str) -> None:
        """An agent cannot be asked for now."""
        self.version += agent not in self._down
        self._down[agent] = why

    def returned(self, agent: str) -> None:
        """It can again."""
        self.version += self._down.pop(agent, None) is not None

    def probes(self, now: float) -> list[str]:
        """Agents to look after now, because little is known of them or of the links to them; the device, too."""
        found = []
        for server in (self.device, *self.servers):
            hops = [*self._hops(self.device, server), *self._hops(server, self.device)]
            silent = server.agent in self._down or any(self._lines[hop].down for hop in hops)
            seen = min(
                [self._lines[hop].rate(now).seen for hop in hops] + [self._loads[server.agent].at(now).seen],
                default=now,
            )
            since = now - max(self._looked.get(server.agent, -EVERY), -1e9)
            if since >= (SOON if silent else EVERY) and (silent or now - seen >= EVERY):
                self._looked[server.agent] = now
                found.append(server.agent)
        return found

    def hops(self, source: str, target: str) -> tuple[Hop, ...]:
        """Links between the nodes of two agents."""
        return self._hops(self.profiles.of(source), self.profiles.of(target))

    def _hops(self, a: NodeProfile, b: NodeProfile) -> tuple[Hop, ...]:
        return () if a.node == b.node else self._routes[a.node, b.node]

    def _party(self, name: str, now: float) -> Party:
        base, load = self._parties[name], self._loads[name].at(now)
        exits = tuple(replace(e, acceptance=self._exits[e.exit].value) for e in base.exits if e.exit in self._exits)
        return replace(
            base, load=load.value, spread=load.spread, down=self._down.get(name, ""), exits=exits or base.exits
        )

    def _moved(self, what: Any, value: float) -> None:
        before = self._marks.setdefault(what, value)
        if abs(value - before) > MOVED:
            self._marks[what] = value
            self.version += 1

    def _on(self, tier: str, *, none: bool = False) -> list[NodeProfile]:
        found = [p for p in self.profiles.agents if self.topology.nodes[p.node].tier == tier]
        if not found and not none:
            raise InputError(f"no profile is of an agent on the {tier} tier; measure one, or name the agent.")
        return found


def _both(name: str) -> tuple[Hop, Hop]:
    return (name, False), (name, True)


def _configured(wire: Any, against: bool) -> Direction:
    trace = wire.link.rate.down if against else wire.link.rate.up
    rate = next(rate for _, rate in trace.points if rate > 0)
    return Direction(rate=rate, delay=wire.link.rtt / 2 + wire.link.jitter / 2)


def _line(one: Direction, now: float) -> Line:
    rate = one.rate(now)
    return Line(rate=rate.value, delay=one.delay, spread=rate.spread, down=one.down)


def _routes(topology: Topology, nodes: Iterable[str]) -> Mapping[tuple[str, str], tuple[Hop, ...]]:
    network, wires = Network(topology), topology.wires()
    found: dict[tuple[str, str], tuple[Hop, ...]] = {}
    for a in nodes:
        for b in nodes:
            if a == b:
                continue
            here, hops = a, []
            for name in network.route(a, b):
                against = wires[name].b == here
                here = wires[name].a if against else wires[name].b
                hops.append((name, against))
            found[a, b] = tuple(hops)
    return found


def _party(profile: NodeProfile) -> Party:
    speeds = Speeds(
        prefill=profile.prefill,
        decode=profile.decode,
        per_row=profile.per_row,
        start=profile.start,
        encode=profile.encode,
        image_tokens=profile.image_tokens,
    )
    known = profile.capacity is not None and profile.flops is not None
    return Party(
        name=profile.agent,
        node=profile.node,
        speeds=speeds,
        gain=gain(profile.capacity or 0.0, profile.flops or 2.0, profile.bias) if known else None,
        wait=profile.queue / profile.slots * (profile.start + WAITING * profile.decode),
        memory=profile.memory,
        family=profile.family,
        depth=profile.depth,
        width=profile.width,
        dtype=profile.dtype,
        exits=tuple(
            Exit(
                exit=e.exit,
                acceptance=e.acceptance,
                speeds=Speeds(
                    prefill=e.prefill, decode=e.decode, encode=profile.encode, image_tokens=profile.image_tokens
                ),
            )
            for e in profile.exits
        ),
    )


def _settings(profiles: Profiles) -> dict[tuple[str, str], tuple[Setting, ...]]:
    found: dict[tuple[str, str], tuple[Setting, ...]] = {}
    for s in profiles.settings:
        one = Setting(tokens=s.tokens, level=s.level, nbytes=s.nbytes, score=s.score, device_seconds=s.device_seconds)
        found[s.device, s.server] = (*found.get((s.device, s.server), ()), one)
    return found
