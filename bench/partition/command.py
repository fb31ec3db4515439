"""``aiflow bench partition``: a model over several weak nodes. Prints tables; ends with one JSON object if asked."""

import json as json_
from typing import Any

from aiflow.bench.partition import exactness, recovery, speed
from aiflow.bench.provenance import provenance
from aiflow.units import show_bytes


def main(*, requests: int = 60, kills: int = 4, seed: int = 0, quick: bool = False, json: bool = False) -> None:
    """``quick``: a fifth of the requests, two kinds of rows, one kill."""
    requests, kills, counts = (max(1, requests // 5), 1, (1, 3)) if quick else (requests, kills, (1, 2, 3, 4))
    exact = exactness.run(requests, seed)
    print(
        f"{exact['requests']} requests with nodes lost at random: {exact['wrong']} wrong texts (bar 0), "
        f"{exact['failed']} without an answer; {exact['disturbed']} disturbed, {exact['losses']} losses",
        flush=True,
    )
    rows = speed.run(counts)
    print("\n".join(["", _HEAD, *map(_line, rows), ""]), flush=True)
    lost = recovery.run(kills)
    gaps = ", ".join(f"{one['gap_s']:.2f} ({one['recovery_s']:.2f} after it was noticed)" for one in lost["kills"])
    print(f"processes killed: seconds without a token {gaps}; undisturbed at most {lost['calm_gap_s']:.2f}")
    wrong = exact["wrong"] + exact["failed"] + lost["wrong"]
    if json:
        found: dict[str, Any] = {"exactness": exact, "speed": rows, "recovery": lost, "wrong": wrong, "ok": not wrong}
        print(json_.dumps(found | {"clock": "virtual, but for recovery", "made_by": provenance()}))


_HEAD = (
    "link            nodes  memory/node  peak weights (most)  of whole  first token  per token  bytes/token  "
    "tokens/s: alone, of four"
)


def _line(row: dict[str, Any]) -> str:
    most = max(row["peak_weights"])
    return (
        f"{row['link']:<14}  {row['nodes']:>5}  {show_bytes(row['memory_per_node']):>11}  {show_bytes(most):>19}  "
        f"{most / row['whole']:>7.0%}  {row['first_token_s']:>9.2f} s  {row['s_per_token'] * 1e3:>6.0f} ms  "
        f"{row['bytes_per_token']:>11.0f}  {row['tokens_per_s_alone']:>15.1f}, {row['tokens_per_s_of_four']:.1f}"
    )
