"""The terminal's view of the quality parts of ``aiflow bench familial``."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from aiflow.bench.familial.eesb import BARS, GROUPS, SAVING
from aiflow.bench.familial.hpcd import FIRST
from aiflow.units import show_bytes

if TYPE_CHECKING:
    from rich.console import Console


def show_eesb(result: dict[str, Any]) -> None:
    """All members, then the chosen ones with their intervals, and what an early exit needs."""
    found, console = result["eesb"], _console()
    of_full = f"{found['seeds']} seed{'s'[: found['seeds'] > 1]}, {found['items']} items of each form"
    heads = ("member", "", "parameters", "share %", *GROUPS, *(f"rel. {group}" for group in GROUPS), "corrected")
    rows = [
        [
            row["member"],
            row["kind"],
            f"{row['parameters']:,}",
            _percent(row["parameter_share"]),
            *(_percent(row["scores"][group]["value"]) for group in GROUPS),
            *(_of_full(row["relative"][group]) for group in GROUPS),
            _of_full(row["chance_corrected"]["all"]),
        ]
        for row in found["members"]
    ]
    table(console, f"EESB · accuracy in % · {of_full}", heads, rows, left=2)
    for group, one in (("general", found), ("all", found["all_forms"])):
        _chosen(group, one, result["early_exit"] if group == "general" else result["early_exit"]["all_forms"])
    print("  rel.: to the full model, in %; corrected: rel. all, less what guessing gives; []: 95 %, items / seeds")


def _chosen(group: str, one: dict[str, Any] | None, exit_: dict[str, Any] | None) -> None:
    share, least = BARS[group]
    if one is None or one["member"] is None or exit_ is None:
        print(f"  {group}: no member with a branch has at most {100 * share:.0f} % of the parameters")
        return
    over = "" if one["seeds_ci"] is None else f" / {_span(one['seeds_ci'])}"
    accuracy = f"{_percent(one['relative_accuracy'])} % {_span(one['ci'])}{over}" if one["ci"] else "unknown"
    print(
        f"  {group}: member {one['member']} gives {accuracy} of the full model's accuracy with "
        f"{_percent(one['parameter_share'])} % of its parameters  "
        f"(bar: >= {100 * least:.1f} % with <= {100 * share:.0f} %)"
    )
    where = f"exit {exit_['member']}" if exit_["below_full"] else "only the full model, no exit below it"
    print(
        f"    without a branch: {where}, {exit_['ratio']:.2f} x the parameters; {exit_['between']:.2f} x between exits"
        f"  (bar: >= {SAVING} x)"
    )


def show_hpcd(result: dict[str, Any]) -> None:
    """Table II's form: parameters, suites, average."""
    members, summary = result["hpcd"], result["hpcd_summary"]
    suites = list(members[0]["suites"])
    dense = summary["dense"] | {"member": "dense"}
    rows = [
        [
            row["member"],
            f"{row['parameters']:,}",
            show_bytes(row["bytes"]) if "bytes" in row else "",
            *(_percent(row["suites"][name]) for name in suites),
            _percent(row["score"]),
            _span(row["ci"]),
        ]
        for row in [*members, *([dense] if dense["score"] is not None else [])]
    ]
    heads = ("member", "parameters", "file", *suites, "avg %", "95 % CI")
    table(_console(), f"HPCD · {summary['items']} items of each suite", heads, rows, left=1)
    steps = ", ".join(f"{100 * step['value']:+.1f} {_span(step['ci'], '+')}" for step in summary["steps"])
    print(f"  {'' if summary['monotone'] else 'not '}monotone; steps: {steps}")
    print(
        f"  the first member has {_percent(summary['first_share_of_largest'])} % of the largest one's parameters "
        f"(bar: <= {100 * FIRST:.0f} %), {_percent(summary['first_share_of_dense'])} % of the dense model's"
    )


def show_capacity(result: dict[str, Any]) -> None:
    """Every member with what its capacity was made of."""
    found = result["capacity"]
    heads = ("family", "member", "parameters", "capacity", "gain bits", "operations", "bits/token", "text bits/token")
    rows = [
        [
            family,
            row["member"],
            f"{row['parameters']:,}",
            f"{row['capacity']:.4f}",
            f"{row['gain_bits']:.3f}",
            f"{row['flops'] / 1e6:.2f} M",
            f"{row['bits_per_token']:.3f}",
            f"{row['text_bits_per_token']:.2f}",
        ]
        for family in ("hpcd", "eesb")
        for row in found[family]
    ]
    table(_console(), f"Information capacity · {found['samples']} x {found['length']} tokens", heads, rows, left=2)
    print(f"  without bias; with the released one of {found['released_bias']} bits: in the JSON")
    print("  all tokens count, questions too, which training hardly asks for: compare members of one family only")


def table(console: "Console", title: str, heads: Sequence[str], rows: Iterable[Sequence[str]], *, left: int) -> None:
    """Prints a table whose first ``left`` columns are texts."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    made = Table(title=title, title_justify="left", header_style="bold", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for n, head in enumerate(heads):
        made.add_column(head, justify="left" if n < left else "right", no_wrap=True)
    for row in rows:
        made.add_row(*row)
    console.print(made, soft_wrap=True)


def _console() -> "Console":
    from rich.console import Console

    console = Console()
    if not console.is_terminal:
        console.width = max(console.width, 120)
    return console


def _percent(share: float) -> str:
    return f"{100 * share:.1f}"


def _of_full(relative: dict[str, Any] | None) -> str:
    return "" if relative is None else _percent(relative["value"])


def _span(ci: Sequence[float], sign: str = "") -> str:
    return f"[{100 * ci[0]:{sign}.1f}, {100 * ci[1]:{sign}.1f}]"
