"""The terminal's view of ``aiflow bench tofc``."""

from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table


def show(part: str, result: dict[str, Any]) -> None:
    """Prints one part's table."""
    console = Console()
    for line in VIEWS[part](result):
        console.print(line, highlight=False, soft_wrap=True)


def _rate(result: dict[str, Any]) -> list[Any]:
    table = _table("Accuracy against bytes", "system", "bytes", "score %", "95 % CI")
    for row in sorted(result["systems"], key=lambda r: (r["kind"], r["tokens"], r["bytes"])):
        lo, hi = (100 * x for x in row["ci"])
        table.add_row(row["name"], f"{row['bytes']:.0f}", f"{100 * row['score']:.1f}", f"[{lo:.1f}, {hi:.1f}]")
    lo, hi = result["accuracy_gap_ci"]
    return [
        table,
        *(_against(result, kind) for kind in ("jpeg", "webp")),
        f"  best, {result['best']}: {result['accuracy_gap']:+.1f} points [{lo:+.1f}, {hi:+.1f}] below uncompressed",
    ]


def _against(result: dict[str, Any], kind: str) -> str:
    saving, ratio = result[f"saving_vs_{kind}"], result[f"merged_ratio_vs_{kind}"]
    first = "no score in common" if saving is None else f"{100 * saving:.0f} % fewer bytes at equal score"
    second = "no score in common" if ratio is None else f"{ratio:.1f} x fewer with merging on both sides"
    return f"  against {kind}: {first}, {second}"


def _latency(result: dict[str, Any]) -> list[Any]:
    found = []
    for key in ("latency", "latency_nano"):
        cost = result[f"{key}_costs"]
        heads = ("MB/s", "device", "link", "server", "tofc ms", "link", "server", "upload ms", "ratio")
        table = _table(f"Latency, {cost['shape']}, {cost['tokens']} tokens", *heads)
        for row in result[key]:
            times = (
                row[k] for k in ("device", "link", "server", "tofc", "upload_link", "upload_server", "image_upload")
            )
            table.add_row(f"{row['rate'] / 1e6:g}", *(f"{1e3 * t:.1f}" for t in times), f"{100 * row['ratio']:.0f} %")
        found.append(table)
    return found


def _adaptation(result: dict[str, Any]) -> list[Any]:
    heads = ("trace", "score %", "deadlines met %", "bytes", "best fixed", "its score %", "its bytes")
    table = _table("Settings that follow the channel", *heads)
    for row in result["adaptation"]:
        fixed = [row["best_fixed"] or "none", "", ""]
        if row["best_fixed"]:
            fixed[1:] = [f"{100 * row['best_fixed_score']:.1f}", f"{row['best_fixed_bytes']:.0f}"]
        own = (f"{100 * row['score']:.1f}", f"{100 * row['met']:.1f}", f"{row['bytes']:.0f}")
        table.add_row(row["trace"], *own, *fixed)
    return [table]


def _plain(part: str) -> Any:
    def view(result: dict[str, Any]) -> list[Any]:
        table = _table(part, "", "")
        for name, value in _flat(result[part]):
            table.add_row(name, f"{value:.4g}" if isinstance(value, float) else str(value))
        return [table]

    return view


def _flat(found: Any, prefix: str = "") -> list[tuple[str, Any]]:
    if not isinstance(found, dict):
        return [(prefix, found)]
    return [pair for key, value in found.items() for pair in _flat(value, f"{prefix} {key}".strip())]


def _table(title: str, *heads: str) -> Table:
    table = Table(title=title, title_justify="left", header_style="bold", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for number, head in enumerate(heads):
        table.add_column(head, justify="right" if number else "left", no_wrap=True)
    return table


VIEWS = {
    "rate": _rate,
    "latency": _latency,
    "adaptation": _adaptation,
    "speed": _plain("speed"),
    "fuzz": _plain("fuzz"),
    "real": _plain("real"),
}
