"""What really becomes of a request that is answered in some way: seconds in a world that changes meanwhile.

Messages go through the links' true rates over time and wait out outages; computing goes through the nodes' true
slowness over time. Shared decoding advances eight tokens at a time at the pace that the mode's cost model gives for the
true state of the moment, and stands still while a link is down. Speeds, lengths and acceptances have a noise that no
planner knows.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any

from aiflow.bench.plan.requests import Request
from aiflow.bench.plan.world import World
from aiflow.collaboration.planning import drafting, features, splitting
from aiflow.collaboration.planning.option import Option
from aiflow.collaboration.planning.state import Exit, Line, Party, State
from aiflow.collaboration.planning.task import MESSAGE, TOKEN

CHUNK = 8
"""Tokens of shared decoding between two looks at the world."""
_NOTHING = 1e-6


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What a planner may learn and when: the name of one of its methods, and arguments but for the time."""

    at: float
    what: str
    arguments: tuple[Any, ...]


@dataclass
class Played:
    """When the answer was there, what was seen on the way, and what was sent as (hop, bytes, from, to)."""

    end: float = 0.0
    seen: list[Seen] = field(default_factory=list)
    sent: list[tuple[tuple[str, bool], float, float, float]] = field(default_factory=list)

    @property
    def bytes(self) -> float:
        """Over all links."""
        return sum(size for _, size, _, _ in self.sent)


class Stage:
    """One request in one world. ``base``: the planner's state without estimates, for names, speeds and routes."""

    def __init__(self, world: World, request: Request, base: State) -> None:
        self.world, self.request, self.base = world, request, base
        self._parties = {p.name: p for p in (base.device, *base.servers)}

    def play(self, option: Option, start: float) -> Played:
        """The option, begun at ``start``."""
        run = Played()
        ways: dict[str, Callable[[Option, float, Played], float]] = {
            "on_device": self._on_device,
            "server_only": self._server_only,
            "split": self._split,
            "draft_verify": self._draft_verify,
            "draft_verify_3": self._draft_verify,
            "tofc": self._tofc,
        }
        run.end = ways[option.mode](option, start, run)
        for what in run.seen:  # what nodes say of themselves comes with the answer
            assert what.at <= run.end + 1e-9
        run.seen = [replace(s, at=run.end) if s.what != "transferred" else s for s in run.seen]
        return run

    def state(self, now: float) -> State:
        """The true state of the moment, noise included; links that are down have their last rate, and say so."""
        world, noise = self.world, self.request.noise

        def party(p: Party) -> Party:
            return replace(p, load=world.loads[p.name].rate(now) * noise[p.name], spread=0.0)

        lines = {
            hop: Line(rate=max(trace.rate(now) / noise[hop[0]], _NOTHING), delay=world.delays[hop[0]].rate(now))
            for hop, trace in world.rates.items()
        }
        device, *servers = map(party, (self.base.device, *self.base.servers))
        return replace(self.base, device=device, servers=tuple(servers), lines=lines)

    def send(self, run: Played, a: Party, b: Party, nbytes: float, at: float) -> float:
        """When a message that leaves at ``at`` has arrived."""
        for hop in self.base.hops(a, b):
            noise = self.request.noise[hop[0]]
            there = self.world.rates[hop].finish(at, nbytes * noise) + self.world.delays[hop[0]].rate(at)
            run.sent.append((hop, nbytes, at, there))
            run.seen.append(Seen(at=there, what="transferred", arguments=(*hop, nbytes, there - at)))
            at = there
        return at

    def compute(self, run: Played, party: Party, seconds: float, at: float) -> float:
        """When work of ``seconds`` by the profile is done."""
        if seconds <= 0:
            return at
        done = self.world.speeds[party.name].finish(at, seconds * self.request.noise[party.name])
        run.seen.append(Seen(at=done, what="computed", arguments=(party.name, seconds, done - at)))
        return done

    def _on_device(self, option: Option, at: float, run: Played) -> float:
        task, device = self.request.true, self._parties[option.parties[0]]
        return self.compute(
            run, device, device.answering(task.prompt_tokens, task.output_tokens, len(task.image_bytes)), at
        )

    def _server_only(self, option: Option, at: float, run: Played) -> float:
        task, device, server = self.request.true, self.base.device, self._parties[option.parties[0]]
        there = self.send(run, device, server, task.prompt_bytes, at)
        work = server.answering(task.prompt_tokens, task.output_tokens, len(task.image_bytes))
        return self.send(run, server, device, task.answer_bytes, self.compute(run, server, work, there))

    def _tofc(self, option: Option, at: float, run: Played) -> float:
        task, device, server = self.request.true, self.base.device, self._parties[option.parties[1]]
        tokens = option.parameters["tokens"]
        setting = next(s for s in self.base.settings[device.name, server.name] if s.tokens == tokens)
        one = features.computing(task, self.base, server, setting)
        seen = self.compute(run, device, one.device_seconds, at)
        there = self.send(run, device, server, setting.nbytes + MESSAGE + TOKEN * task.prompt_tokens, seen)
        return self.send(run, server, device, task.answer_bytes, self.compute(run, server, one.server_seconds, there))

    def _draft_verify(self, option: Option, at: float, run: Played) -> float:
        task, device = self.request.true, self.base.device
        judges = [self._parties[name] for name in option.parties[1:]]
        images, ready = len(task.image_bytes), at
        for party in (device, *judges):
            there = self.send(run, device, party, task.prompt_bytes, at)
            ready = max(ready, self.compute(run, party, party.reading(task.prompt_tokens, images), there))
        alphas = [self._alpha(self.base.acceptance[a, b]) for a, b in pairwise(option.parties)]

        def pace(state: State) -> float:
            if len(judges) == 2:
                return drafting.chain(state, option.parameters["length"], *alphas)[0]
            judge = next(s for s in state.servers if s.name == judges[0].name)
            return drafting.rhythm(alphas[0], drafting.profile(state, state.device, judge))[0]

        end = self._decode(run, (device, *judges), pace, ready)
        for (a, b), alpha in zip(zip(option.parties, option.parties[1:], strict=False), alphas, strict=True):
            good = round(alpha * task.output_tokens)
            run.seen.append(Seen(at=end, what="judged", arguments=(a, b, good, task.output_tokens - good)))
        return self.send(run, judges[-1], device, drafting.FRAME_DOWN, end)

    def _split(self, option: Option, at: float, run: Played) -> float:
        task, device, server = self.request.true, self.base.device, self._parties[option.parties[1]]
        exit_ = next(e for e in device.exits if e.exit == option.parameters["exit"])
        transport = option.parameters["transport"]
        ready = self._split_reading(run, server, exit_, transport, at)
        alpha = self._alpha(exit_.acceptance)

        def pace(state: State) -> float:
            now = next(s for s in state.servers if s.name == server.name)
            return splitting.per_token(state, now, exit_, transport, alpha)

        end = self._decode(run, (device, server), pace, ready)
        good = round(alpha * task.output_tokens)
        run.seen.append(Seen(at=end, what="judged_exit", arguments=(exit_.exit, good, task.output_tokens - good)))
        return self.send(run, server, device, drafting.FRAME_DOWN, end)

    def _split_reading(self, run: Played, server: Party, exit_: Exit, transport: str, at: float) -> float:
        task, device = self.request.true, replace(self.base.device, speeds=exit_.speeds)
        images = len(task.image_bytes)
        first = self.compute(run, device, device.reading(task.prompt_tokens, images), at)
        places = task.prompt_tokens + images * exit_.speeds.image_tokens
        if transport == "activations":
            size = MESSAGE + places * splitting.token_bytes(server, transport)
            rest = (1 - exit_.exit / server.depth) * server.reading(places)
            return self.compute(run, server, rest, self.send(run, device, server, size, first))
        seen = images * exit_.speeds.image_tokens * splitting.token_bytes(server, "activations")
        there = self.send(run, device, server, MESSAGE + TOKEN * task.prompt_tokens + seen, first if images else at)
        return max(first, self.compute(run, server, server.reading(places), there))

    def _decode(self, run: Played, parties: tuple[Party, ...], pace: Callable[[State], float], at: float) -> float:
        left, begun, device = self.request.tokens, at, self.base.device
        hops = [hop for a, b in pairwise(parties) for hop in self.base.hops(a, b)]
        while left:
            up, cut = max((self.world.rates[hop].finish(at, 1.0), hop) for hop in hops)
            if up > at + 1.0:  # a link is down
                run.sent.append((cut, drafting.FRAME_UP, at, up))
                run.seen.append(Seen(at=up, what="transferred", arguments=(*cut, drafting.FRAME_UP, up - at)))
                at = up
                continue
            said = min(CHUNK, left)
            at += said * pace(self.state(at))
            left -= said
        for party in parties[1:]:
            load = self.world.loads[party.name].rate(at) * self.request.noise[party.name]
            run.seen.append(Seen(at=at, what="computed", arguments=(party.name, 1.0, load)))
        size = drafting.FRAME_UP * self.request.tokens
        run.sent += [(hop, size, begun, begun) for hop in hops]
        own = self.world.loads[device.name].rate(at) * self.request.noise[device.name]
        run.seen.append(Seen(at=at, what="computed", arguments=(device.name, 1.0, own)))
        return at

    def _alpha(self, usual: float) -> float:
        return min(0.97, max(0.05, usual + self.request.agreement))
