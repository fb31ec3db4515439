"""What a plan knows of the cluster at a moment: agents with their speeds and load, links with their rates.

Numbers with their uncertainty; where they come from (`cluster.profiles`, `cluster.estimates`) is not known here.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from math import exp
from typing import Any

from aiflow.collaboration.decoding.costs import one_way
from aiflow.collaboration.tofc.control import Setting
from aiflow.errors import InputError

CAUTION = 1.28
"""Standard deviations of a pessimistic state: one moment in ten is worse."""


@dataclass(frozen=True, kw_only=True)
class Speeds:
    """How fast a model computes on its node by itself. Raises InputError unless all are finite and usable.

    Attributes:
        prefill: prompt tokens/s.
        decode: seconds of a forward that says one token.
        per_row: further seconds of that forward for each further token that it judges.
        start: seconds of any request beside its tokens.
        encode: seconds to look at an image; None: it sees nothing.
        image_tokens: that an image adds to the prompt.
    """

    prefill: float
    decode: float
    per_row: float = 0.0
    start: float = 0.0
    encode: float | None = None
    image_tokens: int = 0

    def __post_init__(self) -> None:
        for name in ("prefill", "decode"):
            if not 0 < getattr(self, name) < float("inf"):
                raise InputError(f"{name}={getattr(self, name)!r} is not usable; measure the agent anew.")
        for name in ("per_row", "start", "encode", "image_tokens"):
            if not 0 <= (getattr(self, name) or 0) < float("inf"):
                raise InputError(f"{name}={getattr(self, name)!r} is not usable; measure the agent anew.")


@dataclass(frozen=True, kw_only=True)
class Exit:
    """A way to stop early in a model: after ``exit`` of its blocks, a branch says tokens that the rest judges.

    ``acceptance``: share of the branch's tokens that the full model says, too.
    """

    exit: int
    speeds: Speeds
    acceptance: float


@dataclass(frozen=True, kw_only=True)
class Party:
    """An agent at a moment.

    Attributes:
        name, node: of the agent.
        speeds: unloaded.
        gain: bits that the model saves per token of text (`prior`); None: not known.
        load: how many times longer than unloaded it takes now; ``spread`` is the standard deviation of its logarithm.
        wait: seconds until a request is begun.
        memory: bytes that the model needs; ``loaded`` ones have them already.
        down: why it cannot be asked; empty: it can.
        family, exits, depth, width, dtype: of the family whose beginning a device can compute; "" and () if of none.
    """

    name: str
    node: str
    speeds: Speeds
    gain: float | None = None
    load: float = 1.0
    spread: float = 0.0
    wait: float = 0.0
    memory: float = 0.0
    loaded: bool = True
    down: str = ""
    family: str = ""
    exits: tuple[Exit, ...] = ()
    depth: int = 0
    width: int = 0
    dtype: str = "float32"

    def reading(self, tokens: float, images: int = 0) -> float:
        """Seconds from the prompt to the first token, the queue included."""
        s = self.speeds
        seen = images * (s.encode or 0.0) + images * s.image_tokens / s.prefill
        return self.wait + self.load * (s.start + tokens / s.prefill + seen)

    def saying(self, tokens: float) -> float:
        """Seconds of ``tokens`` tokens, one after the other."""
        return self.load * self.speeds.decode * tokens

    def answering(self, prompt: float, output: float, images: int = 0) -> float:
        """Seconds of a whole request."""
        return self.reading(prompt, images) + self.saying(max(0.0, output - 1))


@dataclass(frozen=True, kw_only=True)
class Line:
    """One direction of a link: ``rate`` in bytes/s, one-way ``delay`` in seconds, ``down`` while nothing arrives.

    ``spread``: standard deviation of the rate's logarithm.
    """

    rate: float
    delay: float = 0.0
    spread: float = 0.0
    down: bool = False

    def seconds(self, nbytes: float) -> float:
        """Of a message that is alone on it: its expectation where the rate is only known up to ``spread``."""
        return one_way(2 * self.delay, nbytes, self.rate / exp(self.spread**2 / 2))


Hop = tuple[str, bool]
"""A link's name, and whether it is taken against its direction."""


@dataclass(frozen=True, kw_only=True)
class State:
    """All that a choice depends on beside the task.

    Attributes:
        device: where the question is asked.
        servers: that may answer it, the best model last: its text is what "exact" means.
        team: devices of a collaboration; ``lift`` is what collaborating has been measured to gain over the best of
            its members, as a share.
        lines: by (link, against its direction).
        routes: by (node, node), the hops in order.
        acceptance: by (drafter, judge): share of the drafts that stand.
        settings: ways to send an image, by (device, server).
        free: bytes of memory by node; nodes without an entry have enough.
    """

    device: Party
    servers: tuple[Party, ...] = ()
    team: tuple[Party, ...] = ()
    lift: float = 0.0
    lines: Mapping[Hop, Line] = field(default_factory=dict)
    routes: Mapping[tuple[str, str], tuple[Hop, ...]] = field(default_factory=dict)
    acceptance: Mapping[tuple[str, str], float] = field(default_factory=dict)
    settings: Mapping[tuple[str, str], tuple[Setting, ...]] = field(default_factory=dict)
    free: Mapping[str, float] = field(default_factory=dict)

    @property
    def top(self) -> Party:
        """The agent with the best text."""
        return self.servers[-1] if self.servers else self.device

    def send(self, source: Party, target: Party, nbytes: float) -> float:
        """Seconds of a message, stored and forwarded at each node."""
        return sum(self.lines[hop].seconds(nbytes) for hop in self.hops(source, target))

    def pace(self, source: Party, target: Party, nbytes: float) -> float:
        """Seconds between messages that follow each other without a pause: of the slowest link, without delays."""
        return max((nbytes / self.lines[hop].rate for hop in self.hops(source, target)), default=0.0)

    def hops(self, source: Party, target: Party) -> tuple[Hop, ...]:
        """Links between two agents; none on one node. Raises KeyError for nodes without a route."""
        return () if source.node == target.node else self.routes[source.node, target.node]

    def cut(self, source: Party, target: Party) -> str:
        """Name of a link between two agents that is down; empty if none is."""
        both = (*self.hops(source, target), *self.hops(target, source))
        return next((name for name, back in both if self.lines[name, back].down), "")

    def hopeful(self) -> "State":
        """The same as if nothing were down."""
        changed: dict[str, Any] = {
            "device": replace(self.device, down=""),
            "servers": tuple(replace(p, down="") for p in self.servers),
            "team": tuple(replace(p, down="") for p in self.team),
            "lines": {hop: replace(one, down=False) for hop, one in self.lines.items()},
        }
        return replace(self, **changed)

    def slow(self) -> "State":
        """The same at a bad moment: rates and loads ``CAUTION`` standard deviations worse."""

        def party(p: Party) -> Party:
            worse = exp(CAUTION * p.spread)
            return replace(p, load=p.load * worse, wait=p.wait * worse)

        def line(one: Line) -> Line:
            return replace(one, rate=one.rate * exp(-CAUTION * one.spread), spread=0.0)

        changed: dict[str, Any] = {
            "device": party(self.device),
            "servers": tuple(map(party, self.servers)),
            "team": tuple(map(party, self.team)),
            "lines": {hop: line(one) for hop, one in self.lines.items()},
        }
        return replace(self, **changed)
