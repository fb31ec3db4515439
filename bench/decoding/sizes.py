"""Bytes on the wire of a round, by what travels, measured on encoded frames."""

from typing import Any

from aiflow.collaboration.decoding.costs import Profile, states_pay_from
from aiflow.collaboration.decoding.sparse import STEPS, Sparse
from aiflow.collaboration.decoding.wire import HEADER_BYTES, Draft, Verdict

PAIRS = (
    ("2 B of 26 B, 40 ms a round", 0.08, 6144, 2, 0.040),
    ("exit 18 of 36 of 8 B, 20 ms", 0.5, 4096, 2, 0.020),
    ("nano, exit 2 of 8, fp32, 2 ms", 0.25, 256, 4, 0.002),
)
"""Devices that are branches: their share of the upper tier's forward, model size, bytes of a number, seconds of it."""
VOCABULARY = 151_936
"""Of Qwen2.5's small models."""


def run() -> dict[str, Any]:
    """Bytes up for four drafted tokens, and down for the verdict on them; a dense row beside them."""
    ids = tuple(range(VOCABULARY - 4, VOCABULARY))
    rows: dict[str, Any] = {
        "greedy or shared noise": {"up": len(Draft(session=1, epoch=1, base=100, ids=ids).encode())}
    }
    for keep in (8, 16, 32, 64):
        law = _law(keep)
        frame = Draft(session=1, epoch=1, base=100, ids=(law.drawn,) * 4, laws=(law,) * 4, id_bits=18).encode()
        rows[f"soft, {keep} probabilities"] = {"up": len(frame)}
    down = len(Verdict(session=1, epoch=1, number=1, base=100, same=4, ids=ids[:1], final=105).encode())
    rows["soft, dense rows (not sent)"] = {"up": HEADER_BYTES + 4 * 2 * VOCABULARY}
    states = [_states(*pair) for pair in PAIRS]
    return {"drafts": 4, "down": down, "up": rows["greedy or shared noise"]["up"], "rows": rows, "states": states}


def _states(name: str, share: float, width: int, number: int, verify: float) -> dict[str, Any]:
    rate = states_pay_from(4, share, width * number, Profile(draft=0.0, verify=verify))
    return {"pair": name, "up": 5 * width * number, "pays_from": rate}


def _law(keep: int) -> Sparse:
    counts = [STEPS // keep] * keep
    counts[0] += STEPS - sum(counts)
    return Sparse(tuple(range(VOCABULARY - keep, VOCABULARY)), tuple(counts))
