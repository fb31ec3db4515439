"""LangGraph's ``custom`` stream, if somebody listens to it."""

from collections.abc import Callable
from typing import Any

from langgraph.config import get_stream_writer

Write = Callable[[Any], None]


def writer() -> Write | None:
    """The stream writer of the running node; None outside a graph, and where nobody asked for the ``custom`` mode.

    Not streaming saves a message per token on the links. LangGraph 1.2 does not tell whether anybody listens: its
    idle writer is a function without a closure, every live one has the stream in its closure.
    """
    try:
        write: Write = get_stream_writer()
    except (RuntimeError, KeyError):
        return None
    return write if getattr(write, "__closure__", True) is not None else None
