"""The terminal's view of ``aiflow bench decoding``: a table for each part, the headline below it."""

from collections.abc import Callable, Sequence
from typing import Any

from rich.console import Console

from aiflow.bench.familial.tables import table
from aiflow.units import show_bytes


def show(part: str, found: Any) -> None:
    """Prints one part."""
    SHOWN[part](found)


def _speed(found: dict[str, Any]) -> None:
    rows = [
        [name, f"{t:.2f}", f"{found['ms_per_token']['target alone'] / t:.2f}", "yes" if found["equal"][name] else "NO"]
        for name, t in found["ms_per_token"].items()
    ]
    _table(f"One process · {found['tokens']} tokens after the first", ("system", "ms/token", "x target", "equal"), rows)
    print(
        f"  draft {found['draft']}; accepted {100 * found['acceptance']:.0f} %, {found['mean_accepted']:.2f} a round; "
        f"familial {found['vs_target']:.2f} x the target, {found['vs_assisted']:.2f} x assisted generation, "
        f"{found['familial_vs_separate']:.2f} x a separate drafter"
    )


def _tiers(found: Sequence[dict[str, Any]]) -> None:
    for one in found:
        rows = [
            [name, f"{r['tokens_per_s']:.2f}", f"{r['bytes_per_token']:.0f}", "yes" if r["equal_text"] else "NO"]
            for name, r in one["rows"].items()
        ]
        _table(f"Tiers · pace {one['pace']}", ("chain", "tokens/s", "bytes/token", "text of its top tier"), rows)
        print(f"  three tiers {one['three_tier_vs_cloud']:.2f} x the cloud alone")


def _devices(found: dict[str, Any]) -> None:
    rows = [
        [
            str(r["threads"]),
            str(r["sessions"]),
            f"{r['tokens_per_s']:.0f}",
            f"{r['ms_per_round']:.1f}",
            show_bytes(r["bytes_per_session"]),
        ]
        for r in found["rows"]
    ]
    _table(
        "Sessions at one verifier",
        ("threads", "sessions", "verified tokens/s", "ms/round", "cache/session"),
        rows,
        left=0,
    )
    if found["gain_16"]:
        print(f"  16 sessions give {found['gain_16']:.2f} x the tokens/s of one")


def _bytes(found: dict[str, Any]) -> None:
    rows = [[name, f"{row['up']:,}"] for name, row in found["rows"].items()]
    _table(f"Bytes up for {found['drafts']} drafts (down: {found['down']})", ("what travels", "bytes"), rows)
    rows = [[one["pair"], f"{one['up']:,}", f"{one['pays_from'] / 1e6:.1f} MB/s"] for one in found["states"]]
    _table("Hidden states beside the ids, for a device that is a branch", ("pair", "bytes", "pay from"), rows)


def _lengths(found: Sequence[dict[str, Any]]) -> None:
    for one in found:
        _curves(one)


def _curves(found: dict[str, Any]) -> None:
    rates = [o["rate"] for o in found["optima"]]
    by = {(r["length"], r["rate"]): r for r in found["rows"]}
    rows = [[str(g), *(f"{by[g, rate]['speedup']:.2f}" for rate in rates)] for g in sorted({g for g, _ in by})]
    _table(f"Speed-up by draft length · acceptance {found['alpha']:.2f}", ("length", *map(_rate, rates)), rows, left=0)
    for one in found["optima"]:
        print(
            f"  {_rate(one['rate'])}: best {one['length']} ({one['speedup']:.2f} x), slower than the server alone from "
            f"{one['slower_from']} on; formula within {100 * one['worst_difference']:.1f} %"
        )


def _pipeline(found: dict[str, Any]) -> None:
    rows = [
        [
            f"{1e3 * r['rtt']:.0f}",
            f"{r['alpha']:.2f}",
            str(r["length"]),
            *(f"{r[k]:.2f}" for k in ("gain", "formula", "speedup", "pearl")),
        ]
        for r in found["rows"]
    ]
    heads = ("RTT, ms", "acceptance", "sync length", "streamed / sync", "forecast", "x server", "PEARL x server")
    _table("Streamed drafts against the best synchronous length", heads, rows, left=0)
    print(f"  the forecast is within {100 * found['worst_difference']:.1f} %")


def _adaptive(found: dict[str, Any]) -> None:
    rows = [
        [
            _rate(r["rate"]),
            f"{1e3 * r['rtt']:.0f}",
            f"{r['alpha']:.2f}",
            r["best"],
            f"{r['speedup_best']:.2f}",
            f"{r['speedup']:.2f}",
            f"{100 * r['of_best']:.1f}",
        ]
        for r in found["rows"]
    ]
    heads = ("rate", "RTT, ms", "acceptance", "best fixed", "x server", "adaptive", "% of best")
    _table("Adaptive against every fixed plan", heads, rows, left=0)
    print(
        f"  at least {100 * found['least_of_best']:.1f} % of the best, "
        f"{found['least_of_server']:.3f} x the server alone"
    )


def _breakeven(found: dict[str, Any]) -> None:
    alphas = sorted({r["alpha"] for r in found["rows"]})
    by = {(r["rtt"], r["alpha"]): r["speedup"] for r in found["rows"]}
    rows = [[f"{1e3 * t:.0f}", *(f"{by[t, a]:.2f}" for a in alphas)] for t in sorted({t for t, _ in by})]
    _table("Speed-up by round trip and acceptance", ("RTT, ms", *(f"{a:.2f}" for a in alphas)), rows, left=0)


def _table(title: str, heads: Sequence[str], rows: list[list[str]], left: int = 1) -> None:
    table(Console(), title, heads, rows, left=left)


def _rate(rate: float) -> str:
    return f"{rate / 1e6:g} MB/s"


SHOWN: dict[str, Callable[[Any], None]] = {
    "speed": _speed,
    "tiers": _tiers,
    "devices": _devices,
    "bytes": _bytes,
    "lengths": _lengths,
    "pipeline": _pipeline,
    "adaptive": _adaptive,
    "breakeven": _breakeven,
}
