"""A host in this process that dies, hangs or garbles when it is told to, for measuring what a fault costs.

Only what an agent's process can do is done: it forgets everything, it stays silent, or its bytes are damaged.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from aiflow.agents.host import LocalHost
from aiflow.agents.worker import Worker
from aiflow.errors import AgentDiedError

KINDS = ("die", "die after", "hang", "garble reply", "garble request")


@dataclass(frozen=True, kw_only=True)
class Fault:
    """What happens at the ``at``-th call (from 1), and for how many calls (None: for ever).

    "die": before the call is worked on; "die after": when the result is there, but has not been sent. A process that
    died has forgotten everything when it is back; one that hung has not.
    """

    kind: Literal["die", "die after", "hang", "garble reply", "garble request"]
    at: int
    calls: int | None = 1

    def strikes(self, call: int) -> bool:
        """Whether it strikes at this call."""
        return call >= self.at and (self.calls is None or call < self.at + self.calls)


class Unreliable(LocalHost):
    """A worker that ``make`` makes, and makes anew after each death."""

    def __init__(self, make: Callable[[], Worker], fault: Fault | None = None) -> None:
        super().__init__(make())
        self._make, self.fault, self.calls, self.struck = make, fault, 0, 0

    async def call(self, part: str, payload: bytes) -> bytes:
        """A part's reply, or what the fault makes of it."""
        self.calls += 1
        fault = self.fault
        if fault is None or not fault.strikes(self.calls):
            return await self.worker.call(part, payload)
        self.struck += 1
        if fault.kind == "hang":
            await asyncio.Event().wait()
        if fault.kind == "garble request":
            return await self.worker.call(part, damaged(payload))
        if fault.kind == "garble reply":
            return damaged(await self.worker.call(part, payload))
        if fault.kind == "die after":
            await self.worker.call(part, payload)
        self.worker = self._make()
        raise AgentDiedError("the process of an agent died while it was asked; ask again once it has restarted.")


def damaged(data: bytes) -> bytes:
    """The bytes with one of them changed, the one in the middle."""
    place = len(data) // 2
    return data[:place] + bytes([data[place] ^ 0x10]) + data[place + 1 :]
