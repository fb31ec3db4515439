"""Bytes on the wire of a round, by what travels, measured on encoded frames."""

from typing import Any

from aiflow.collaboration.decoding.sparse import STEPS, Sparse
from aiflow.collaboration.decoding.wire import HEADER_BYTES, Draft, Verdict

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
    return {"drafts": 4, "down": down, "up": rows["greedy or shared noise"]["up"], "rows": rows}


def _law(keep: int) -> Sparse:
    counts = [STEPS // keep] * keep
    counts[0] += STEPS - sum(counts)
    return Sparse(tuple(range(VOCABULARY - keep, VOCABULARY)), tuple(counts))
