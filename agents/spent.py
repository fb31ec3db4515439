"""What an agent's answers have cost its askers so far: a running sum, exact under concurrency."""

import threading
from collections import Counter
from collections.abc import Iterable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field

from aiflow.types import Answer, Usage

bill: ContextVar[list[Answer] | None] = ContextVar("bill", default=None)
"""Where set to a list, the answers that this task and the tasks it starts get are added to it as well."""


@dataclass(frozen=True, kw_only=True)
class Spent:
    """Sums over answers: model usage, seconds that askers waited (links included), bytes by link.

    Calls that failed are not in it; what they sent is in ``Network.totals``.
    """

    answers: int = 0
    usage: Usage = field(default_factory=Usage)
    seconds: float = 0.0
    bytes: Mapping[str, int] = field(default_factory=dict)


def together(parts: Iterable[Spent]) -> Spent:
    """Their sum."""
    found = list(parts)
    return Spent(
        answers=sum(spent.answers for spent in found),
        usage=sum((spent.usage for spent in found), Usage()),
        seconds=sum(spent.seconds for spent in found),
        bytes=dict(sum((Counter(spent.bytes) for spent in found), Counter())),
    )


class Purse:
    """Adds answers up, from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._spent = Spent()

    def add(self, answer: Answer) -> None:
        """Counts one more answer."""
        if (answers := bill.get()) is not None:
            answers.append(answer)
        with self._lock:
            spent = self._spent
            self._spent = Spent(
                answers=spent.answers + 1,
                usage=spent.usage + answer.usage,
                seconds=spent.seconds + answer.seconds,
                bytes=dict(Counter(spent.bytes) + Counter(answer.bytes)),
            )

    def total(self) -> Spent:
        """The sum up to now."""
        return self._spent
