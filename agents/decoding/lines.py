"""What lies between the agents of a session: their legs, and the lines that carry frames from leg to leg."""

import asyncio
import secrets
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from aiflow.agents.decoding import wire
from aiflow.cluster.network import Channel, Network

if TYPE_CHECKING:
    from aiflow.agents.agent import Agent


@dataclass(kw_only=True, eq=False)
class Leg:
    """An agent's part in the session: ``tier`` counts from the device, ``session`` is its number in frames."""

    agent: "Agent"
    tier: int
    session: int
    key: str = field(default_factory=lambda: secrets.token_hex(8))
    opened: "asyncio.Future[wire.Opened]" = field(default_factory=lambda: asyncio.get_running_loop().create_future())
    tasks: "list[asyncio.Task[Any]]" = field(default_factory=list)  # that open it and listen to it
    heard: float | None = None  # when something came from it
    pushed: Counter[bool] = field(default_factory=Counter)  # frames handed over, from above and from below

    def push(self, frame: bytes, *, above: bool) -> None:
        """Hands over the next frame from above or below."""
        self.agent.host.push(self.key, self.pushed[above], frame, above)
        self.pushed[above] += 1


class _Line:
    """Both ways between two legs."""

    def __init__(self, network: Network, below: Leg, above: Leg) -> None:
        ends = below.agent.node, above.agent.node
        self.up: Channel[bytes] = network.channel(*ends)
        self.down: Channel[bytes] = network.channel(*reversed(ends))
        self.relays = [
            asyncio.ensure_future(self._relay(self.up, above, from_above=False)),
            asyncio.ensure_future(self._relay(self.down, below, from_above=True)),
        ]

    async def _relay(self, channel: Channel[bytes], leg: Leg, *, from_above: bool) -> None:
        async for frame in channel:
            await asyncio.shield(leg.opened)
            leg.push(frame, above=from_above)

    async def close(self) -> None:
        for task in self.relays:
            task.cancel()
        await asyncio.gather(*self.relays, return_exceptions=True)
        await self.up.cancel()
        await self.down.cancel()


class Lines:
    """The lines of a session: number k lies between the legs k and k + 1."""

    def __init__(self, network: Network) -> None:
        self._network = network
        self._lines: list[_Line] = []
        self._cut: list[_Line] = []

    def connect(self, below: Leg, above: Leg) -> None:
        """Adds the next line."""
        self._lines.append(_Line(self._network, below, above))

    def up(self, k: int, frame: bytes) -> None:
        """Sends a frame of leg ``k`` to the one above, if there is one."""
        if k < len(self._lines):
            self._lines[k].up.put(frame, len(frame))

    def down(self, k: int, frame: bytes) -> None:
        """Sends a frame of leg ``k`` to the one below."""
        self._lines[k - 1].down.put(frame, len(frame))

    def cut(self, k: int) -> None:
        """Ends the lines from ``k`` on; what is under way is lost."""
        gone, self._lines = self._lines[k:], self._lines[:k]
        self._cut += gone
        for task in [task for line in gone for task in line.relays]:
            task.cancel()

    @property
    def crossed(self) -> Counter[str]:
        """Bytes by link, of all lines that were there."""
        lines = [*self._lines, *self._cut]
        return sum((Counter(way.bytes) for line in lines for way in (line.up, line.down)), Counter[str]())

    async def close(self) -> None:
        """Ends all."""
        for line in [*self._lines, *self._cut]:
            await line.close()
