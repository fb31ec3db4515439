"""Two runs on the same questions, subject by subject: a paired comparison. Reads logs only; shows nothing.

Every difference is B - A. A question counts where both subjects have a score; the others are counted, not scored.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aiflow.bench import stats
from aiflow.bench.report.material import Material, of_folder
from aiflow.bench.stats import Estimate
from aiflow.bench.suite import Record, Sample
from aiflow.errors import DataError

MOST = 10
COSTS: Mapping[str, Callable[[Record], float]] = {
    "tokens": lambda record: sum(turn.tokens for turn in record.turns),
    "bytes": lambda record: sum(sum(turn.bytes.values()) for turn in record.turns),
    "seconds": lambda record: sum(turn.seconds for turn in record.turns),
}


def compare_runs(a: Path, b: Path) -> dict[str, Any]:
    """Both runs' subjects of the same name on the questions that both runs asked; JSON values only.

    Subjects without a namesake are listed; if there is no namesake at all, the lead subjects (a run's only one, or its
    collaboration) are paired. ``changed`` counts ids whose questions read differently; they are left out.
    Raises DataError for runs of different suites, or without a question or a subject in common.
    """
    return compare_materials(of_folder(a), of_folder(b), str(a), str(b))


def compare_materials(left: Material, right: Material, a: str, b: str) -> dict[str, Any]:
    """The same of runs that are read already; ``a`` and ``b`` are their names."""
    if left.results.suite != right.results.suite:
        raise DataError(
            f"{a} is a run of {left.results.suite!r} and {b} of {right.results.suite!r}; compare runs of one suite."
        )
    same, changed = common(left, right)
    if not same:
        why = f"all {changed} common ids hold other questions" if changed else "they have no question in common"
        raise DataError(f"{a} and {b} cannot be compared: {why}; give two runs on the same questions.")
    pairs = _pairs(left, right)
    compared = [_compared(one, other, same, left, right) for one, other in pairs]
    names = {one for one, _ in pairs}, {other for _, other in pairs}
    return {
        "suite": left.results.suite,
        "best": max(left.results.best, right.results.best),
        "unit": left.results.unit,
        "a": _told(a, left, names[0]),
        "b": _told(b, right, names[1]),
        "n": len(same),
        "changed": changed,
        "subjects": compared,
    }


def _told(name: str, material: Material, paired: set[str]) -> dict[str, Any]:
    return {
        "run": name,
        "status": material.status,
        "questions": len(material.samples),
        "time": material.results.run.get("time"),
        "commit": material.results.run.get("commit"),
        "unmatched": [name for name in material.records if name not in paired],
    }


def common(left: Material, right: Material) -> tuple[list[Sample], int]:
    """The samples of both, in the order of the first, and how many ids hold different questions."""
    known = {sample.id: sample for sample in right.samples}
    both = [(sample, known[sample.id]) for sample in left.samples if sample.id in known]
    same = [one for one, other in both if one.turns == other.turns or not (any(one.turns) and any(other.turns))]
    return same, len(both) - len(same)


def _pairs(left: Material, right: Material) -> list[tuple[str, str]]:
    same = [(name, name) for name in left.records if name in right.records]
    if same:
        return same
    one, other = _lead(left), _lead(right)
    if one is None or other is None:
        raise DataError("one of the runs holds no records yet; compare runs that have answered questions.")
    return [(one, other)]


def _lead(material: Material) -> str | None:
    """The row that the run calls merged, else its collaboration, else any subject."""
    merged = next((row.name for row in material.results.rows if row.key == "merged"), None)
    return merged if merged in material.records else material.lead


@dataclass(frozen=True, kw_only=True)
class _Pair:
    """A question that both subjects have a score for."""

    sample: Sample
    a: float
    b: float

    @property
    def difference(self) -> float:
        return self.b - self.a


def _compared(one: str, other: str, samples: Sequence[Sample], left: Material, right: Material) -> dict[str, Any]:
    ours, theirs = left.records[one], right.records[other]
    both = [(s, ours[s.id], theirs[s.id]) for s in samples if s.id in ours and s.id in theirs]
    found = [(s, a.score, b.score) for s, a, b in both]
    pairs = [_Pair(sample=s, a=a, b=b) for s, a, b in found if a is not None and b is not None]
    told = {
        "a": one,
        "b": other,
        "n": len(pairs),
        "unscored": len(both) - len(pairs),
        "missing": len(samples) - len(both),
        "errors_a": sum(bool(turn.error) for _, record, _ in both for turn in record.turns),
        "errors_b": sum(bool(turn.error) for _, _, record in both for turn in record.turns),
    }
    if not pairs:
        return told
    categories = dict.fromkeys(pair.sample.category for pair in pairs)
    return {
        **told,
        **_scores(pairs),
        "categories": {name: _scores([pair for pair in pairs if pair.sample.category == name]) for name in categories},
        "costs": _costs(both),
        "most": _most(pairs),
    }


def _scores(pairs: Sequence[_Pair]) -> dict[str, Any]:
    """Means, their paired difference with interval and p-value, and who won how often."""
    groups = [pair.sample.group or pair.sample.id for pair in pairs]
    changes = [pair.difference for pair in pairs]
    return {
        "n": len(pairs),
        **_estimate("mean_a", stats.mean([pair.a for pair in pairs], groups=groups)),
        **_estimate("mean_b", stats.mean([pair.b for pair in pairs], groups=groups)),
        **_estimate("difference", stats.mean(changes, groups=groups)),
        "p": stats.sign_flip(changes, groups=groups),
        "wins": sum(change > 0 for change in changes),
        "ties": sum(change == 0 for change in changes),
        "losses": sum(change < 0 for change in changes),
    }


def _costs(both: Sequence[tuple[Sample, Record, Record]]) -> dict[str, Any]:
    """Per question, where either run recorded such a cost; seconds only where no answer was an earlier one, kept."""
    told = {}
    for name, cost in COSTS.items():
        timed = [three for three in both if name != "seconds" or not (_reused(three[1]) or _reused(three[2]))]
        groups = [sample.group or sample.id for sample, _, _ in timed]
        ours, theirs = [cost(a) for _, a, _ in timed], [cost(b) for _, _, b in timed]
        if any(ours) or any(theirs):
            change = stats.mean([y - x for x, y in zip(ours, theirs, strict=True)], groups=groups)
            means = {"a": round(sum(ours) / len(ours), 4), "b": round(sum(theirs) / len(theirs), 4)}
            told[name] = means | _estimate("difference", change)
    return told


def _reused(record: Record) -> bool:
    return any(turn.reused for turn in record.turns)


def _most(pairs: Sequence[_Pair]) -> list[dict[str, Any]]:
    """The questions whose scores differ most, those that differ only."""
    ranked = sorted((pair for pair in pairs if pair.difference), key=lambda pair: -abs(pair.difference))[:MOST]
    return [{"id": p.sample.id, "category": p.sample.category, "a": round(p.a, 4), "b": round(p.b, 4)} for p in ranked]


def _estimate(name: str, value: Estimate) -> dict[str, Any]:
    return {name: value.rounded, f"{name}_ci": value.ci}
