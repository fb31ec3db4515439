"""How an agent's requests go, as this process sees it: how many are under way, and how those ended that failed."""

import threading
from collections import Counter
from collections.abc import Mapping
from typing import Any, Self


class Tally:
    """Use it in ``with`` around a request. Counts from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._failed: Counter[str] = Counter()
        self.asked = self.in_flight = 0

    @property
    def failed(self) -> Mapping[str, int]:
        """Requests that raised, by the kind of error. Cancelled ones are not among them."""
        with self._lock:
            return dict(self._failed)

    def __enter__(self) -> Self:
        with self._lock:
            self.asked += 1
            self.in_flight += 1
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: Any) -> None:
        with self._lock:
            self.in_flight -= 1
            if kind is not None and issubclass(kind, Exception):
                self._failed[kind.__name__] += 1
