"""How maths suites are scored: which rule reads an answer, which compares it, and pass@k. Pure; no files, no models."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

from aiflow.bench.suites.maths import extract
from aiflow.bench.suites.maths.equal import equal
from aiflow.errors import InputError

DIGITS = 300
"""Of the longest number that is compared."""


@dataclass(frozen=True)
class Rule:
    """``extract`` reads the final answer of a text (None: there is none), ``equal`` compares two of them."""

    extract: Callable[[str], str | None]
    equal: Callable[[str, str], bool]


def numbers(answer: str, gold: str) -> bool:
    """Two numbers as ``extract.number`` writes them, compared exactly; one of hundreds of digits is babble."""
    return max(len(answer), len(gold)) <= DIGITS and Fraction(answer) == Fraction(gold)


RULES: Mapping[str, Rule] = {
    "gsm8k": Rule(extract.gsm8k, numbers),
    "math-500": Rule(extract.math, equal),
    "aime-2024": Rule(extract.aime, numbers),
}


def pass_at_k(right: Sequence[tuple[int, int]], k: int) -> float:
    """The unbiased estimate of pass@k in percent: 1 - C(n-c, k) / C(n, k), averaged over problems.

    ``right``: (n samples, c right ones) of each problem. Source: Chen et al. 2021 (HumanEval), section 2.1.
    Raises InputError for no problems, and where a problem has fewer than ``k`` samples.
    """
    fewest = min((n for n, _ in right), default=0)
    if not 1 <= k <= fewest:
        raise InputError(f"pass@{k} needs {max(k, 1)} or more samples of every problem, got {fewest}.")
    return 100.0 * math.fsum(1.0 - math.comb(n - c, k) / math.comb(n, k) for n, c in right) / len(right)
