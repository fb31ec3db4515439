"""How good an answer is likely to be before anybody has judged one: from information capacity. Pure arithmetic.

Capacity (`familial.capacity`) is about the same for all models of a series, whatever their size, so one measured model
says what its larger and smaller sisters save, in bits per token: gain = capacity * log2(operations per token) - bias.
The prior of a model is its gain as a share of the best one's. It ranks models and says how far apart they are; it is
no score of any benchmark. Source: AI Flow at the network edge, section on information capacity; arXiv 2511.08066.
"""

from math import isfinite, log2

from aiflow.collaboration.planning.state import Party, State
from aiflow.errors import InputError

UNKNOWN = 0.5
"""The prior of a model of which nothing is known, beside one of which something is."""


def gain(capacity: float, flops: float, bias: float = 0.0) -> float:
    """Bits saved per token by a model of ``flops`` operations per token of a series of that capacity.

    Raises InputError for less than two operations or a capacity that is no finite number.
    """
    if not (isfinite(capacity) and isfinite(bias) and 2 <= flops < float("inf")):
        raise InputError(f"capacity={capacity}, flops={flops}, bias={bias}: give finite numbers, flops of at least 2.")
    return capacity * log2(flops) - bias


def quality(party: Party, state: State) -> float:
    """0..1, as a share of the best known model's; without any known gain, 1 for the top agent and `UNKNOWN` else."""
    known = [p.gain for p in (state.device, *state.servers, *state.team) if p.gain is not None]
    best = max(known, default=0.0)
    if party.gain is None or best <= 0:
        return 1.0 if party.name == state.top.name else UNKNOWN
    return max(0.0, party.gain / best)
