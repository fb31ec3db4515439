"""What each caller may use: requests and tokens a minute, requests at a time. Knows neither keys nor HTTP servers."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from math import ceil

from aiflow.serve.config import Allowance
from aiflow.serve.refusal import RATE, Refusal

Now = Callable[[], float]


class Bucket:
    """A token bucket that holds a minute's worth; charges may leave it in debt, which time pays back."""

    def __init__(self, per_minute: int, now: Now) -> None:
        self._capacity, self._now = float(per_minute), now
        self._level, self._moment = self._capacity, now()

    @property
    def level(self) -> float:
        """What is left now."""
        now = self._now()
        self._level = min(self._capacity, self._level + (now - self._moment) * self._capacity / 60)
        self._moment = now
        return self._level

    def take(self, amount: float) -> float:
        """Takes ``amount`` and returns 0, or takes nothing and returns the seconds until it would be there.

        More than the bucket can ever hold is given when it is full.
        """
        need = min(amount, self._capacity)
        if self.level >= need:
            self._level -= amount
            return 0.0
        return (need - self._level) * 60 / self._capacity

    def give(self, amount: float) -> None:
        """Gives back; a negative amount is a charge after the fact."""
        self._level = min(self._capacity, self.level + amount)


@dataclass
class Account:
    """One caller's buckets and its requests under way."""

    allowance: Allowance
    requests: Bucket | None
    tokens: Bucket | None
    running: int = 0

    @classmethod
    def of(cls, allowance: Allowance, now: Now) -> "Account":
        """A fresh one."""
        requests, tokens = (
            None if limit is None else Bucket(limit, now)
            for limit in (allowance.requests_per_minute, allowance.tokens_per_minute)
        )
        return cls(allowance, requests, tokens)


class Slot:
    """One admitted request: reserves what it may write, settles what it used, and ends once."""

    def __init__(self, desk: "Desk", account: Account) -> None:
        self._desk, self._account = desk, account
        self._reserved = 0
        self._open = True

    def reserve(self, tokens: int) -> None:
        """Sets tokens aside before the model runs. Raises Refusal (429)."""
        if self._account.tokens is not None:
            if wait := self._account.tokens.take(tokens):
                raise _late("tokens a minute", wait)
            self._reserved = tokens

    def settle(self, used: int) -> None:
        """Charges what was used in place of what was set aside. May be called once, or never."""
        if self._account.tokens is not None:
            self._account.tokens.give(self._reserved - used)
        self._reserved = 0

    def close(self) -> None:
        """Ends the request. Idempotent."""
        if self._open:
            self._open = False
            self._account.running -= 1
            self._desk.running -= 1
            if self._reserved:
                self.settle(0)


@dataclass
class Desk:
    """Admits requests; ``most`` at a time over all callers."""

    most: int
    now: Now = time.monotonic
    running: int = 0
    _accounts: dict[str, Account] = field(default_factory=dict)

    def admit(self, caller: str, allowance: Allowance) -> Slot:
        """A slot for a request of ``caller``. Raises Refusal (429) with the time after which to come again."""
        account = self._accounts.get(caller)
        if account is None or account.allowance != allowance:
            account = self._accounts[caller] = Account.of(allowance, self.now)
        if self.running >= self.most:
            raise _late("requests at a time over all callers", 1.0)
        if allowance.concurrency is not None and account.running >= allowance.concurrency:
            raise _late("requests at a time", 1.0)
        if account.requests is not None and (wait := account.requests.take(1)):
            raise _late("requests a minute", wait)
        account.running += 1
        self.running += 1
        return Slot(self, account)


def _late(what: str, seconds: float) -> Refusal:
    message = f"the limit of {what} is reached; try again in {ceil(seconds)} s."
    headers = {"retry-after": str(max(1, ceil(seconds))), "retry-after-ms": str(max(1, ceil(seconds * 1000)))}
    return Refusal(429, message, kind=RATE, code="rate_limit_exceeded", headers=headers)
