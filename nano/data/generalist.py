"""What the generalist learns: every text skill of the family in one model, the teacher of the low-rank members.

It is the base continued on the devices' own questions, beside the reading and copying it already knows.
"""

import random

from aiflow.nano.data import base, device
from aiflow.nano.data.dialogue import Dialogue


def stream(rng: random.Random) -> Dialogue:
    """One dialogue: reading, copying, or an own question of one of the five devices."""
    kind = rng.random()
    if kind < 0.18:
        return base.reading(rng)
    if kind < 0.26:
        return base.copy(rng)
    if kind < 0.68:
        return device.own(rng, rng.choice(("math", "code", "text")))
    topic = rng.choice(("islands", "minerals"))
    return device.profile(rng, topic) if rng.random() < 0.6 else device.own(rng, topic)
