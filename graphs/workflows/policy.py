"""How a device-server collaboration is to go: the arguments of ``device_server``, checked. Knows no agent's insides."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from aiflow.agents.interface import Asks
from aiflow.errors import UsageError, suggest
from aiflow.graphs.blocks.budget import Budget
from aiflow.graphs.blocks.merge import HOWS, QUOTES, How, Quote
from aiflow.graphs.blocks.select import SELECTORS, Selector
from aiflow.types import Options

LEAST_CONTEXT = 200


@dataclass(frozen=True, kw_only=True)
class Policy:
    """The settings of one collaboration; see ``device_server``. Raises UsageError where one cannot be meant."""

    select: int | Literal["all"]
    selector: Selector
    merge: How
    quote: Quote
    revise: Literal["selected", "all", False]
    rounds: int
    deadline: float | None
    server_deadline: float | None
    quorum: int
    grace: float | None
    options: Options | None
    server_options: Options | None
    context_limit: int | None
    measure: Callable[[str], int]

    def __post_init__(self) -> None:
        _whole("rounds", self.rounds)
        _whole("quorum", self.quorum)
        if self.select != "all":
            _whole("select", self.select, ' or "all"')
            _demand(self.quorum <= self.select, f"quorum={self.quorum} exceeds select={self.select}; lower it.")
        if not callable(self.selector):
            _one_of("selector", self.selector, SELECTORS)
        _one_of("merge", self.merge, HOWS)
        _one_of("quote", self.quote, QUOTES)
        if self.revise is not False:
            _one_of("revise", self.revise, ("selected", "all"))
        elif self.rounds > 1:
            raise UsageError(f'rounds={self.rounds} without revision would repeat itself; give revise="selected".')
        for name, value in (("deadline", self.deadline), ("server_deadline", self.server_deadline)):
            _seconds(name, value, above=True)
        _seconds("grace", self.grace, above=False)
        for name, options in (("options", self.options), ("server_options", self.server_options)):
            _demand(options is None or isinstance(options, Options), f"{name}={options!r} is not an aiflow.Options.")
        if self.context_limit is not None:
            _whole("context_limit", self.context_limit, " or None", LEAST_CONTEXT)
        _demand(callable(self.measure), f"measure={self.measure!r} is not a function from a text to its length.")

    def count(self, devices: Sequence[Asks]) -> int:
        """How many devices are selected."""
        return len(devices) if self.select == "all" else min(self.select, len(devices))

    @property
    def budget(self) -> Budget:
        """The guard on the length of the server's prompts."""
        return Budget(self.context_limit, self.measure)


def check_agents(server: Any, devices: Any, quorum: int) -> tuple[Asks, ...]:
    """Returns the devices. Raises UsageError where an agent is none, a name is double, or there are too few."""
    _agent("server", server)
    _demand(
        isinstance(devices, Sequence) and not isinstance(devices, str), f"devices={devices!r} is no list of agents."
    )
    _demand(len(devices) > 0, "devices is empty; give at least one agent.")
    for device in devices:
        _agent("a device", device)
    names = [device.name for device in devices]
    twice = sorted({name for name in names if names.count(name) > 1})
    _demand(not twice, f"several devices are named {', '.join(map(repr, twice))}; give each its own name.")
    _demand(quorum <= len(devices), f"quorum={quorum} exceeds the {len(devices)} devices; lower it.")
    return tuple(devices)


def _demand(met: bool, otherwise: str) -> None:
    if not met:
        raise UsageError(otherwise)


def _agent(role: str, value: Any) -> None:
    is_agent = all(hasattr(value, part) for part in ("name", "about", "node", "ask", "stream"))
    _demand(is_agent, f"{role} must be an agent, got {str(value)[:40]!r}; make one with cluster.agent(...).")


def _whole(name: str, value: Any, also: str = "", least: int = 1) -> None:
    valid = isinstance(value, int) and not isinstance(value, bool) and value >= least
    _demand(valid, f"{name}={value!r} is not usable; give an int >= {least}{also}.")


def _seconds(name: str, value: Any, *, above: bool) -> None:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    valid = value is None or (number and (value > 0 if above else value >= 0) and value < float("inf"))
    _demand(valid, f"{name}={value!r} is not usable; give seconds {'> 0' if above else '>= 0'}, or None.")


def _one_of(name: str, value: Any, valid: tuple[str, ...]) -> None:
    _demand(isinstance(value, str) and value in valid, f"{name}={value!r} is unknown; {suggest(str(value), [*valid])}")
