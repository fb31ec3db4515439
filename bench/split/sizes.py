"""Bytes of the messages of split inference, measured on encoded ones, and from which rate on activations pay."""

from typing import Any

import torch

from aiflow.collaboration.familial.split import Activations, Dtype, break_even, payload_bytes
from aiflow.collaboration.familial.verdict import Poll, Verdict

WIDTHS: dict[str, tuple[int, tuple[Dtype, ...]]] = {
    "nano": (256, ("float32", "bfloat16", "int8")),
    "7 B (d = 3584)": (3584, ("bfloat16", "int8")),
}
TOKENS = (1, 4, 75, 1000)
RATES = (0.5e6, 1e6, 2e6)
SERVERS = (
    ("7 B, 31 ms a pass, exit 11 of 28", 3584, "bfloat16", 4, 0.031 * 0.4),
    ("the same, int8", 3584, "int8", 4, 0.031 * 0.4),
    ("7 B, a prompt of 1,000, 250 ms, exit 11 of 28", 3584, "bfloat16", 1000, 0.250 * 0.4),
    ("7 B, 31 ms a pass, exit 19 of 28", 3584, "bfloat16", 4, 0.031 * 0.7),
)
"""Servers: model size, dtype on the link, tokens, and the seconds of the blocks below the exit."""
_SESSION = "0" * 16


def run() -> dict[str, Any]:
    """Rows by width, dtype and tokens; what stands around them; and break-even rates."""
    rows = [_row(name, width, dtype, n) for name, (width, dtypes) in WIDTHS.items() for dtype in dtypes for n in TOKENS]
    rows += [_row("any", None, "int8", n) for n in TOKENS]
    verdict = Verdict(session=_SESSION, epoch=3, next_position=900, life=2**31 - 1, agreed=900, token=30_000, took=9999)
    return {
        "rows": rows,
        "verdict": len(verdict.encode()),
        "poll": len(Poll(session=_SESSION, number=3).encode()),
        "break_even": [
            {"server": name, "tokens": n, "rate": break_even(n, width, dtype, seconds)}  # type: ignore[arg-type]
            for name, width, dtype, n, seconds in SERVERS
        ],
    }


def _row(name: str, width: int | None, dtype: Dtype, n: int) -> dict[str, Any]:
    sent = Activations(
        session=_SESSION,
        epoch=3,
        base=900,
        exit=2,
        ids_N=torch.full((n,), 30_000),
        h_ND=None if width is None else torch.ones(n, width),
        kept=900,
        decided=900,
    )
    whole = len(sent.encode(dtype))
    payload = 0 if width is None else payload_bytes(n, width, dtype)
    return {
        "model": name,
        "dtype": "ids" if width is None else dtype,
        "tokens": n,
        "bytes": whole,
        "payload": payload,
        "around": whole - payload - 4 * n,
        "ms": {f"{rate:g}": 1e3 * whole / rate for rate in RATES},
    }
