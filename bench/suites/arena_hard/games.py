"""From the judge's words to battles: which of the five verdicts is whose win, and how many battles it is worth.

A question is judged in two games; the baseline is A in the first and B in the second. What happens to a game without
a verdict differs: v0.1 drops the game, v2 the question.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from aiflow.bench.judges.verdicts import five_way, last_five_way
from aiflow.bench.suites.arena_hard.data import Game, Version
from aiflow.bench.suites.arena_hard.score import Battle

WEIGHT = 3
"""How many battles a game with ``>>`` is worth."""
LABELS: dict[Version, dict[str, tuple[float, int]]] = {
    "v0.1": {"A>>B": (1.0, WEIGHT), "A>B": (1.0, 1), "A=B": (0.5, 1), "B>A": (0.0, 1), "B>>A": (0.0, WEIGHT)}
}
"""Version -> label -> (what A gets: 1, 0.5 or 0; how many battles it is worth)."""
LABELS["v2"] = LABELS["v0.1"] | {
    "A<<B": (0.0, WEIGHT),
    "A<B": (0.0, 1),
    "B=A": (0.5, 1),
    "B<A": (1.0, 1),
    "B<<A": (1.0, WEIGHT),
}


@dataclass(frozen=True)
class Verdict:
    """What the model (not the baseline) got in a game, 0..1, and how many battles that is worth."""

    points: float
    weight: int


def label(game: Game | None, version: Version) -> str | None:
    """The label in the judge's words by the version's rule; the recorded score where the words were not kept."""
    if game is None or game.judgment is None:
        return game.score if game else None
    return five_way(game.judgment) if version == "v0.1" else last_five_way(game.judgment)


def verdict(found: str | None, game: int, version: Version) -> Verdict | None:
    """A label in game 0 or 1; None for no label, or one without a meaning."""
    known = LABELS[version].get(found or "")
    if known is None:
        return None
    points, weight = known
    return Verdict(points if game else 1.0 - points, weight)


def verdicts(labels: Sequence[str | None], version: Version) -> tuple[Verdict | None, ...]:
    """Of both games; in v2 a question with a game that has none has none at all."""
    found = tuple(verdict(one, game, version) for game, one in enumerate(labels))
    return found if version == "v0.1" or None not in found else (None,) * len(found)


def battles(question: str, model: str, baseline: str, found: Sequence[Verdict | None]) -> list[Battle]:
    """The rows that verdicts are worth, the baseline being model a."""
    winners = {1.0: "model_b", 0.5: "tie", 0.0: "model_a"}
    return [
        Battle(question=question, model_a=baseline, model_b=model, winner=winners[one.points])  # type: ignore[arg-type]
        for one in found
        if one is not None
        for _ in range(one.weight)
    ]


def share(found: Sequence[Verdict | None]) -> float | None:
    """What the model got on a question, 0..100, games weighted; None without a verdict.

    The published score weighs all games of all questions at once, so it is not the mean of these.
    """
    known = [one for one in found if one is not None]
    total = sum(one.weight for one in known)
    return 100.0 * sum(one.points * one.weight for one in known) / total if total else None
