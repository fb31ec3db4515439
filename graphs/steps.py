"""What steps of graphs took, for whoever counts them. Loads no LangGraph."""

from contextvars import ContextVar
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Ran:
    """A step that ran: how long, and the kind of error that it ended with, or ""."""

    step: str
    seconds: float
    error: str


ran: ContextVar[list[Ran] | None] = ContextVar("ran", default=None)
"""Where set to a list, the steps that run in this task and in those it starts are added to it."""
