"""Draws a frame: three tables."""

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from aiflow.top.frame import AgentRow, Frame, LinkRow, NodeRow
from aiflow.units import show_bytes

_COLOURS = {"up": "green", "loading": "yellow", "restarting": "yellow"}


def draw(frame: Frame) -> RenderableType:
    """All that a frame holds."""
    head = Text(frame.source, style="bold")
    if frame.note:
        head.append(f"   {frame.note}", style="bold red")
    parts: list[RenderableType] = [head]
    if frame.nodes:
        rows = [_node(name, row) for name, row in frame.nodes.items()]
        parts.append(_table(("node", "tier", "state", "cpu", "memory", ""), rows))
    if frame.links:
        rows = [_link(name, row) for name, row in frame.links.items()]
        parts.append(_table(("link", "state", "up", "down", "rtt", "", "bytes", "now"), rows))
    if frame.agents:
        rows = [_agent(name, row) for name, row in frame.agents.items()]
        parts.append(_table(("agent", "node", "state", "in flight", "answered", "errors", "tokens", "tokens/s"), rows))
    return Group(*parts)


def _table(heads: Sequence[str], rows: Sequence[Sequence[str | Text]]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    words = ("node", "link", "agent", "tier", "state", "")
    for head in heads:
        table.add_column(head, justify="left" if head in words else "right", no_wrap=True)
    for row in rows:
        table.add_row(*row)
    return table


def _node(name: str, row: NodeRow) -> list[str | Text]:
    memory = f"{show_bytes(row.memory[0])} of {show_bytes(row.memory[1])}" if row.memory else "-"
    return [name, row.tier, _state(row.state), "-" if row.cpu is None else f"{row.cpu:.0f} %", memory, row.note]


def _link(name: str, row: LinkRow) -> list[str | Text]:
    now = "-" if row.traffic is None else f"{show_bytes(row.traffic)}/s"
    source = "measured" if row.measured else "configured"
    return [
        name,
        _state(row.state),
        f"{show_bytes(row.rate_up)}/s",
        f"{show_bytes(row.rate_down)}/s",
        f"{row.rtt * 1e3:.1f} ms",
        source,
        "-" if row.bytes is None else show_bytes(row.bytes),
        now,
    ]


def _agent(name: str, row: AgentRow) -> list[str | Text]:
    counts = [_count(row.in_flight), _count(row.answered), _count(row.errors), _count(row.tokens)]
    return [name, row.node, _state(row.state), *counts, "-" if row.speed is None else f"{row.speed:.1f}"]


def _state(state: str) -> Text:
    return Text(state, style=_COLOURS.get(state, "red"))


def _count(number: int | None) -> str:
    return "-" if number is None else str(number)
