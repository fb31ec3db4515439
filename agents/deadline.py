"""A time limit on either clock, so that a deadline means the same in a simulation as in a demo."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from math import inf, isnan
from typing import Any

from aiflow.clock import Clock
from aiflow.errors import DeadlineError, InputError


class Deadline:
    """A moment by which an agent must have answered: ``seconds`` from now, or never (None). Raises InputError."""

    def __init__(self, seconds: Any, clock: Clock, agent: str, doing: str = "answer") -> None:
        if seconds is not None and (
            isinstance(seconds, bool) or not isinstance(seconds, int | float) or isnan(seconds)
        ):
            raise InputError(f"deadline={seconds!r} is not usable; give seconds, such as 2.5, or None.")
        self._seconds, self._clock, self._agent, self._doing = seconds, clock, agent, doing
        self._moment = None if seconds is None else clock.now() + seconds

    @property
    def left(self) -> float:
        """Seconds until the moment; infinite if there is none."""
        return inf if self._moment is None else self._moment - self._clock.now()

    @asynccontextmanager
    async def limit(self) -> AsyncIterator[None]:
        """Cancels its body at the moment and raises DeadlineError. Not around a ``yield`` to a stranger."""
        if self._moment is None:
            yield
            return
        scope = asyncio.timeout(None)
        alarm = asyncio.ensure_future(self._clock.sleep_until(self._moment))
        inside = True
        alarm.add_done_callback(lambda a: scope.reschedule(0) if inside and not a.cancelled() else None)
        try:
            async with scope:
                try:
                    yield
                finally:
                    inside = False
        except TimeoutError as error:
            if scope.expired():
                message = f"agent {self._agent!r} did not {self._doing} within {self._seconds:g} s"
                raise DeadlineError(message, self._agent) from error
            raise
        finally:
            alarm.cancel()
