"""MT-Bench's published figures from ratings and from the winners of pairs of games. Pure arithmetic, no files.

Sources: FastChat's ``llm_judge/show_result.py`` and FastEval's ``benchmarks/mt_bench.py``.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

TURNS = (1, 2)
BEST = 10.0
GameWinner = Literal["model_1", "model_2", "tie", "error"]
PairWinner = Literal["win", "loss", "tie"]


@dataclass(frozen=True, kw_only=True)
class Rated:
    """One judged answer: the ``value`` of 1..10, or None where the judge's words hold no rating."""

    question: str
    category: str
    turn: int
    value: float | None


@dataclass(frozen=True, kw_only=True)
class Pair:
    """One answer of each of two models, judged twice with their places swapped."""

    model_1: str
    model_2: str
    first: GameWinner
    second: GameWinner


def figures(ratings: Sequence[Rated], expected: int = 0) -> dict[str, Any]:
    """The scores of one model; None where no rating is known. Unreadable ratings are left out and counted.

    ``average`` is FastEval's (mean of turn 1 + mean of turn 2) / 2 (of one, if the other has no rating),
    ``fastchat_average`` the mean of all ratings: equal while nothing is missing. A category is the mean of its ratings
    of both turns. ``n`` ratings were read out of ``n + unparsed`` judgments; ``missing`` more are ``expected``.
    ``off_scale`` of them are not of 1..10; as in the published scores they count.
    """
    kept = [rated for rated in ratings if rated.value is not None]
    first, second = (_mean(r.value for r in kept if r.turn == turn) for turn in TURNS)
    halves = [turn for turn in (first, second) if turn is not None]
    return {
        "average": _mean(halves),
        "fastchat_average": _mean(r.value for r in kept),
        "turn_1": first,
        "turn_2": second,
        "categories": _by_category(kept),
        "categories_turn_1": _by_category([r for r in kept if r.turn == 1]),
        "categories_turn_2": _by_category([r for r in kept if r.turn == 2]),
        "n": len(kept),
        "unparsed": len(ratings) - len(kept),
        "off_scale": sum(not 1 <= r.value <= BEST for r in kept if r.value is not None),
        "missing": max(expected - len(ratings), 0),
    }


def outcome(pair: Pair) -> PairWinner | None:
    """What ``model_1`` made of a pair: a win or a loss only where both games agree. None: a game has no verdict."""
    if "error" in (pair.first, pair.second):
        return None
    if pair.first != pair.second or pair.first == "tie":
        return "tie"
    return "win" if pair.first == "model_1" else "loss"


def pairwise(pairs: Iterable[Pair], baseline: str | None) -> dict[str, dict[str, Any]]:
    """Win, loss and tie counts and rates of every model; against the ``baseline`` only, where one is named.

    ``win_rate_adjusted`` counts a tie as half a win. Pairs with a game without verdict are dropped and counted.
    """
    counts: dict[str, Counter[str]] = {}
    for pair in pairs:
        if baseline is not None and baseline not in (pair.model_1, pair.model_2):
            continue
        found = outcome(pair)
        swapped = {"win": "loss", "loss": "win"}
        for model, result in ((pair.model_1, found), (pair.model_2, swapped.get(found or "", found))):
            if model != baseline:
                counts.setdefault(model, Counter())[result or "unparsed"] += 1
    return {model: rates(count) for model, count in sorted(counts.items())}


def rates(count: Counter[str]) -> dict[str, Any]:
    """The published rates, 0..1, of counts of ``win``, ``loss``, ``tie``; None where all pairs were dropped."""
    win, loss, tie = count["win"], count["loss"], count["tie"]
    n = win + loss + tie
    shares = {"win_rate": win, "loss_rate": loss, "win_rate_adjusted": win + 0.5 * tie}
    found = {name: value / n if n else None for name, value in shares.items()}
    return {**found, "win": win, "loss": loss, "tie": tie, "n": n, "unparsed": count["unparsed"]}


def _by_category(kept: Sequence[Rated]) -> dict[str, float | None]:
    names = dict.fromkeys(r.category for r in kept)
    return {name: _mean(r.value for r in kept if r.category == name) for name in names}


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None
