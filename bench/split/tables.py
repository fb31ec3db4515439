"""The terminal's view of ``aiflow bench split``: a table for each part, the headline below it."""

from collections.abc import Callable, Sequence
from typing import Any

from rich.console import Console

from aiflow.bench.familial.tables import table


def show(part: str, found: Any) -> None:
    """Prints one part."""
    SHOWN[part](found)


def _outages(found: dict[str, Any]) -> None:
    heads = (
        "policy",
        "sessions",
        "disturbed",
        "equal text",
        "lost tokens",
        "server has all",
        "equal state",
        "s",
        "was",
    )
    rows = [
        [
            r["policy"],
            str(r["sessions"]),
            str(r["disturbed"]),
            f"{100 * r['equal_text']:.1f} %",
            str(r["lost_tokens"]),
            f"{100 * r['server_has_all']:.1f} %",
            f"{100 * r['equal_state']:.1f} %",
            f"{r['seconds']:.2f}",
            f"{r['steady_seconds']:.2f}",
        ]
        for r in found["policies"]
    ]
    _table(f"Link outages · {found['seeds']} seeds", heads, rows)
    one = found["policies"][0]
    print(
        f"  a branch's first token after {one['first_ms']:.0f} ms on average, {one['first_waits_ms']:.1f} ms more than "
        f"its computation; without a branch {one['first_without_branch_ms']:.0f} ms. Keys and values differ by at most "
        f"{one['worst_difference']:.1e}"
    )


def _latency(found: dict[str, Any]) -> None:
    heads = ("system", "MB/s", "first, ms", "final, ms", "bytes", "device", "link", "server", "equal text")
    for kind, chosen in found["choices"].items():
        rows = [
            [
                r["system"],
                f"{r['rate'] / 1e6:g}",
                *(f"{r[k]:.0f}" for k in ("first_ms", "final_ms")),
                f"{r['bytes']:,.0f}",
                *(f"{r[k]:.0f}" for k in ("device_ms", "link_ms", "server_ms")),
                f"{100 * r['equal']:.0f} %",
            ]
            for r in found["rows"]
            if r["kind"] == kind
        ]
        _table(f"Over links of {found['rtt_ms']:.0f} ms · {kind} · device {found['member']}", heads, rows)
        rates = ", ".join(f"{d} {r / 1e6:.1f}" for d, r in chosen["break_even"].items())
        print(f"  {chosen['tokens']} tokens; activations pay from (MB/s): {rates}")


def _bytes(found: dict[str, Any]) -> None:
    rows = [
        [r["model"], r["dtype"], f"{r['tokens']:,}", f"{r['bytes']:,}", str(r["around"])]
        + [f"{ms:,.1f}" for ms in r["ms"].values()]
        for r in found["rows"]
    ]
    rates = [f"ms at {float(rate) / 1e6:g} MB/s" for rate in found["rows"][0]["ms"]]
    _table("Messages upwards", ("model", "sent as", "tokens", "bytes", "around", *rates), rows, left=2)
    print(f"  a verdict has {found['verdict']} bytes, a poll {found['poll']}")
    rows = [[r["server"], str(r["tokens"]), f"{r['rate'] / 1e6:.1f}"] for r in found["break_even"]]
    _table("Activations pay from", ("server", "tokens", "MB/s"), rows)


def _table(title: str, heads: Sequence[str], rows: list[list[str]], left: int = 1) -> None:
    console = Console()
    if not console.is_terminal:
        console.width = max(console.width, 120)
    table(console, title, heads, rows, left=left)


SHOWN: dict[str, Callable[[Any], None]] = {"outages": _outages, "latency": _latency, "bytes": _bytes}
