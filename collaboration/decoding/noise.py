"""Random numbers that depend on (seed, stream, position) alone, equal on every machine.

A position's numbers need no state that could be lost, and no tier can use another's by mistake: a tier has a stream.
Philox (Salmon et al. 2011) is counter-based; its raw bits are used, so that no library version changes a text.

Legend: V vocabulary.
"""

import numpy as np
from numpy.typing import NDArray

SHARED = 0
"""The stream of the noise that all tiers share; tier k's own streams are `own` (k)."""


def own(tier: int, *, second: bool = False) -> int:
    """The stream of a tier's coins, and of what it draws after a rejection (``second``)."""
    return 1 + 2 * tier + second


def uniforms(seed: int, stream: int, position: int, count: int = 1) -> NDArray[np.float64]:
    """``count`` numbers in the open interval (0, 1)."""
    counter = np.array([0, position, stream, 0], dtype=np.uint64)
    raw = np.random.Philox(counter=counter, key=np.array([seed, 0x61696C6F], dtype=np.uint64)).random_raw(count)
    return ((raw >> np.uint64(12)).astype(np.float64) + 0.5) * 2.0**-52


def gumbel(seed: int, position: int, vocabulary: int) -> NDArray[np.float64]:
    """The shared noise g (V,) of a position: argmax(log p + g) is a draw from p.

    Whoever adds the same g to another distribution draws the same token as often as the two can be made to agree this
    way (Daliri, Musco and Suresh 2024), so the text depends on the target and the seed only.
    """
    return -np.log(-np.log(uniforms(seed, SHARED, position, vocabulary)))
