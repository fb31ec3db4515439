"""How the last stage chooses a token: by the same law, and the same draws, as a whole model at one agent."""

import random
from collections.abc import Callable, Sequence

from torch import Tensor

from aiflow.agents.backends.transformers.sampling import Law as Rule
from aiflow.agents.backends.transformers.sampling import choose, likeliest
from aiflow.collaboration.partition.stage import Chooser
from aiflow.collaboration.partition.wire import Law, Ranked


def choosing(silent: Sequence[int]) -> Callable[[Law], Chooser]:
    """``silent``: ids that are never said. Each token takes one draw; those of tokens said before are skipped."""

    def make(law: Law) -> Chooser:
        draws = random.Random(law.seed)
        for _ in range(law.said if law.temperature > 0 else 0):
            draws.random()
        rule = Rule(temperature=law.temperature, top_p=law.top_p, draws=draws)

        def chosen(logits_1V: Tensor) -> tuple[int, Ranked]:
            (token,) = choose(logits_1V, [rule], silent)
            (ranked,) = likeliest(logits_1V, [law.top], silent)
            return token, tuple(ranked)

        return chosen

    return make
