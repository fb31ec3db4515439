"""The planner beside every static mode and the oracle, on the same requests in the same worlds.

A static mode answers each request in one way; where that does not meet the request's wish (or there is no picture), the
cloud alone does. The oracle plays every way that meets the wish and takes the soonest. The planner knows what has
arrived by now.
"""

import heapq
import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from aiflow.bench.plan.play import Played, Seen, Stage
from aiflow.bench.plan.requests import NOISE, Request
from aiflow.bench.plan.world import AGENTS, LINKS, World
from aiflow.collaboration.planning.choose import options, wished
from aiflow.collaboration.planning.option import Key, Option
from aiflow.graphs.workflows.planner import PROBE_BYTES, SOON, Planner

PROBE_REPLY = 200
CLOUD: Key = ("server_only", ("cloud",), ())
DEVICE: Key = ("on_device", ("phone",), ())


@dataclass
class Result:
    """Seconds of each request by contestant, and what the planner did.

    ``static``: of fixed ways, helped out by the cloud where one does not meet the wish; ``falling``: with a second try
    on the device; ``always``: the ways that meet every wish; ``switches``: how often the planner changed a class's way.
    """

    world: str
    planner: list[float] = field(default_factory=list)
    oracle: list[float] = field(default_factory=list)
    static: dict[Key, list[float]] = field(default_factory=dict)
    falling: dict[Key, list[float]] = field(default_factory=dict)
    classes: list[str] = field(default_factory=list)
    taken: dict[str, int] = field(default_factory=dict)
    best: dict[str, int] = field(default_factory=dict)
    second: int = 0
    probes: int = 0
    probe_bytes: float = 0.0
    bytes: float = 0.0
    always: set[Key] = field(default_factory=set)
    switches: int = 0


class Contest:
    """One world and its requests."""

    def __init__(self, world: World, requests: list[Request], planner: Planner, *, probing: bool = True) -> None:
        self.world, self.requests, self.planner, self._probing = world, requests, planner, probing
        self._base = planner.state(0.0)
        self._events: list[tuple[float, int, Seen]] = []
        self._order = itertools.count()
        self._tick = 0.0
        self._rng = np.random.default_rng(len(requests))
        self._names = sorted({o.key for r in requests for o in self._ways(r)})
        self.result = Result(world.name, always=set(self._names))
        self._last: dict[str, Key] = {}

    def run(self) -> Result:
        """Plays all requests."""
        for request in self.requests:
            stage = Stage(self.world, request, self._base)
            ways = self._ways(request)
            played = {o.key: stage.play(o, request.at) for o in ways}
            fitting = {o.key: o for o in ways if wished(request.task, o).possible}
            self.result.always &= set(fitting)
            self._statics(request, stage, fitting, played)
            best = min(fitting, key=lambda key: played[key].end)
            self.result.oracle.append(played[best].end - request.at)
            self.result.best[best[0]] = self.result.best.get(best[0], 0) + 1
            self.result.classes.append(_class(request))
            self._until(request.at)
            self.result.planner.append(self._plan(request, stage, played))
        return self.result

    def _ways(self, request: Request) -> list[Option]:
        return options(request.task, self._base)

    def _statics(
        self,
        request: Request,
        stage: Stage,
        fitting: Mapping[Key, Option],
        played: Mapping[Key, Played],
    ) -> None:
        """Each way as a fixed choice, without and with a second try on the device when it is late."""
        for key in self._names:
            used = key if key in fitting else CLOUD
            taken = played[used].end
            for rows, end in (
                (self.result.static, taken),
                (self.result.falling, self._second(request, stage, fitting, used, taken)),
            ):
                rows.setdefault(key, []).append(end - request.at)

    def _second(self, request: Request, stage: Stage, fitting: Mapping[Key, Option], used: Key, end: float) -> float:
        late = request.at + self.planner.patience(fitting[used])
        if DEVICE not in fitting or used == DEVICE or end <= late:
            return end
        return min(end, stage.play(fitting[DEVICE], late).end)

    def _plan(self, request: Request, stage: Stage, played: Mapping[Key, Played]) -> float:
        planner, now = self.planner, request.at
        chosen = planner.plan(request.task, now).chosen
        self.result.switches += self._last.get(_class(request), chosen.key) != chosen.key
        self._last[_class(request)] = chosen.key
        self.result.taken[chosen.mode] = self.result.taken.get(chosen.mode, 0) + 1
        first = played[chosen.key]
        self._watch(first, request.at)
        self.result.bytes += first.bytes
        late = now + planner.patience(chosen)
        if first.end <= late or chosen.mode == "on_device":
            return first.end - request.at
        self._until(late)  # what has become known meanwhile
        second = planner.plan(request.task, late, without=[chosen.key])
        if second.waits:
            return first.end - request.at
        self.result.second += 1
        other = stage.play(second.chosen, late)
        self._watch(other, late)
        self.result.bytes += other.bytes
        return min(first.end, other.end) - request.at

    def _until(self, now: float) -> None:
        """Tells the planner all that is known by ``now``, and lets it look after servers."""
        while self._tick <= now:
            self._tell(self._tick)
            for agent in self.planner.probes(self._tick) if self._probing else ():
                self._probe(agent, self._tick)
            self._tick += SOON
        self._tell(now)

    def _tell(self, now: float) -> None:
        while self._events and self._events[0][0] <= now:
            at, _, seen = heapq.heappop(self._events)
            getattr(self.planner, seen.what)(*seen.arguments, at)

    def _push(self, seen: Seen) -> None:
        heapq.heappush(self._events, (seen.at, next(self._order), seen))

    def _watch(self, played: Played, start: float) -> None:
        """What a run shows: arrivals when they happen, and silences when a limit has passed."""
        for seen in played.seen:
            self._push(seen)
        for hop, nbytes, begun, end in played.sent:
            limit = self.planner.limit(*hop, nbytes, max(begun, start))
            if end > begun + limit:
                self._push(Seen(at=begun + limit, what="silent", arguments=hop))

    def _probe(self, agent: str, now: float) -> None:
        """A small message and its echo with a busy hint; what is on a link while it is down is lost."""
        noise = {name: float(x) for name, x in zip((*AGENTS, *LINKS), self._rng.lognormal(0, NOISE, 5), strict=True)}
        quiet = Request(at=now, task=self.requests[0].task, tokens=1, noise=noise, agreement=0.0)
        stage, run = Stage(self.world, quiet, self._base), Played()
        party = self.planner.unloaded(agent)
        there = stage.send(run, self._base.device, party, PROBE_BYTES, now)
        load = self.world.loads[agent].rate(there) * noise[agent]
        back = stage.send(run, party, self._base.device, PROBE_REPLY, there)
        self.result.probes += 1
        for (hop, nbytes, begun, end), seen in zip(run.sent, run.seen, strict=True):
            self.result.probe_bytes += nbytes
            limit = self.planner.limit(*hop, nbytes, now)
            lost = self.world.rates[hop].rate(begun) == 0
            if lost or end > begun + limit:
                self._push(Seen(at=begun + limit, what="silent", arguments=hop))
            if lost:
                return
            self._push(seen)
        self._push(Seen(at=back, what="computed", arguments=(agent, 1.0, load)))


def _class(request: Request) -> str:
    task: Any = request.task
    wish = "exact" if task.exact else "any" if task.quality == "fast" else "good"
    return f"{'picture' if task.image_bytes else 'text'}, {wish}"
