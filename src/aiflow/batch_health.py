"""Whether the cluster that a driver joined is still there: its head answers and knows it, or its agents answer on."""

import asyncio
import time
from collections.abc import Callable
from typing import Any

from aiflow.errors import ClusterError

HEADLESS = 30.0  # seconds without a head and without any progress after which a cluster is lost
_ASK = 2.0  # seconds between two questions which cluster it is


class Health:
    """Looks at the head at ``address`` (None: there is none to look at).

    A silent head alone is no loss: agents answer without it, and Ray may be set up to give it its memory back. Another
    cluster at the same address is one, since it knows none of the driver's agents. ``progress``: changes as long as
    work goes on. ``identity``: which cluster is at an address; raises ClusterError where none answers.
    """

    def __init__(
        self,
        address: str | None,
        progress: Callable[[], Any],
        identity: Callable[[str], str],
        headless: float = HEADLESS,
    ) -> None:
        self._address, self._progress, self._identity, self._headless = address, progress, identity, headless
        self._first = None if address is None else identity(address)
        self._seen, self._well = progress(), time.monotonic()
        self._asked = 0.0

    async def lost(self) -> str:
        """Why the cluster is lost; empty as long as it is not."""
        if self._address is None or time.monotonic() - self._asked < _ASK:
            return ""
        self._asked = time.monotonic()
        try:
            found = await asyncio.to_thread(self._identity, self._address)
        except ClusterError:
            return self._silent()
        self._well = time.monotonic()
        return "" if found == self._first else f"another cluster answers at {self._address}"

    def _silent(self) -> str:
        if self._progress() != self._seen:
            self._seen, self._well = self._progress(), time.monotonic()
        if time.monotonic() - self._well <= self._headless:
            return ""
        return f"the head at {self._address} does not answer, and nothing was answered for {self._headless:g} s"
