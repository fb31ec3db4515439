"""Which replica is asked next: the one expected to answer first among those that are well. Arithmetic, no clock.

A replica that failed rests, each time twice as long, until it has answered or was found to be there again (``back``).
Where nobody is well, one that has rested is tried by one request at a time.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from math import inf

from aiflow.errors import UnknownAgentError, suggest

REST, LONGEST = 0.5, 8.0
"""Seconds without requests after a first failure, and at most."""
_NEWEST = 0.2  # share of the newest answer in the mean


@dataclass
class Load:
    """A replica as its role knows it; moments and ``mean`` in seconds."""

    in_flight: int = 0
    mean: float | None = None  # of an answer, as the asker waits for it
    well: bool = True
    failures: int = 0  # since it last answered
    rests_until: float = -inf
    draining: bool = False


class Balance:
    """The loads of the replicas by name. ``loading``: whether a replica is not yet there, so that others go first."""

    def __init__(self, loading: Callable[[str], bool]) -> None:
        self.loads: dict[str, Load] = {}
        self._loading = loading

    def __getitem__(self, name: str) -> Load:
        if name not in self.loads:
            raise UnknownAgentError(f"there is no replica {name!r}; {suggest(str(name), list(self.loads))}")
        return self.loads[name]

    def choose(self, now: float, without: Collection[str] = ()) -> str | None:
        """The replica to ask now; None if all of them rest, drain, are being tried, or are in ``without``."""
        free = [n for n, load in self.loads.items() if n not in without and self._takes(load, now)]
        well = [name for name in free if self.loads[name].well and not self._loading(name)]
        return min(well or free, key=self._expected, default=None)

    def wakes(self, without: Collection[str] = ()) -> float:
        """When the next replica has rested; infinite if none will."""
        loads = [load for name, load in self.loads.items() if name not in without and not load.draining]
        return min((load.rests_until for load in loads), default=inf)

    def began(self, name: str) -> None:
        """A request was sent."""
        self[name].in_flight += 1

    def ended(self, name: str) -> None:
        """It has ended, however."""
        if name in self.loads:  # not taken away meanwhile
            self.loads[name].in_flight -= 1

    def answered(self, name: str, seconds: float) -> None:
        """It was answered after so many seconds."""
        if name in self.loads:
            load = self.loads[name]
            load.mean = seconds if load.mean is None else load.mean + _NEWEST * (seconds - load.mean)
            load.well, load.failures, load.rests_until = True, 0, -inf

    def failed(self, name: str, now: float) -> None:
        """It was not answered. Failures of requests that were sent before the rest began count as one."""
        load = self.loads.get(name)
        if load is not None and now >= load.rests_until:
            load.rests_until = now + min(LONGEST, REST * 2.0 ** min(load.failures, 10))
            load.well = False
            load.failures += 1

    def rested(self, now: float) -> list[str]:
        """Replicas that failed and have rested, to be looked at."""
        return [name for name, load in self.loads.items() if not load.well and now >= load.rests_until]

    def back(self, name: str) -> None:
        """It is there again; whether it answers is not known yet."""
        if name in self.loads:
            self.loads[name].well = True

    def _takes(self, load: Load, now: float) -> bool:
        tried = not load.well and load.in_flight > 0
        return not load.draining and not tried and now >= load.rests_until

    def _expected(self, name: str) -> float:
        known = [load.mean for load in self.loads.values() if load.mean is not None]
        mean = self.loads[name].mean
        return (self.loads[name].in_flight + 1) * (min(known, default=1.0) if mean is None else mean)
