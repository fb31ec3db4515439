"""How much a run may still spend on the models it asks: requests, tokens, money. Arithmetic only."""

import math
from dataclasses import dataclass, field

from aiflow.errors import BudgetSpentError, InputError
from aiflow.types import Usage


@dataclass
class Budget:
    """Limits (None: none) and what was spent. ``prices``: dollars for a million prompt and completion tokens.

    Requests in flight when a limit is reached still count, so that a run may pass it by what is asked at once.
    """

    requests: int | None = None
    tokens: int | None = None
    dollars: float | None = None
    prices: tuple[float, float] | None = None
    spent: Usage = field(default_factory=Usage)

    def __post_init__(self) -> None:
        if self.dollars is not None and self.prices is None:
            raise InputError("a budget in dollars needs the prices of a million prompt and completion tokens.")
        for name in ("requests", "tokens", "dollars"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise InputError(f"a budget of {value} {name} allows nothing; give more than 0, or none.")
        if self.prices is not None and not all(0 <= price < math.inf for price in self.prices):
            raise InputError(f"prices of {self.prices} cannot be; give dollars for a million tokens, 0 or more.")

    @property
    def cost(self) -> float:
        """Dollars spent; 0 without prices."""
        read, write = self.prices or (0.0, 0.0)
        return (self.spent.prompt_tokens * read + self.spent.completion_tokens * write) / 1e6

    def check(self) -> None:
        """Raises BudgetSpentError if nothing is left."""
        tokens = self.spent.prompt_tokens + self.spent.completion_tokens
        for name, used, limit in (
            ("requests", self.spent.requests, self.requests),
            ("tokens", tokens, self.tokens),
            ("dollars", self.cost, self.dollars),
        ):
            if limit is not None and used >= limit:
                raise BudgetSpentError(f"the budget of {limit:g} {name} is spent; resume to spend as much again.")

    def add(self, usage: Usage) -> None:
        """Counts a call."""
        self.spent += usage
