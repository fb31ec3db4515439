"""What the faults did to the answers, and how long it took to recover. Arithmetic on two runs."""

from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from statistics import median
from typing import Any

from aiflow.bench.chaos.play import Run

WINDOW = 10
"""Answers over which a rate is taken."""


def compare(asked: Sequence[str], calm: Run, rough: Run) -> dict[str, Any]:
    """Counts over the ids in ``asked``: lost, doubled, mixed (another request's text), wrong_text (no request's)."""
    expected = {line["id"]: line.get("answer") for line in calm.lines}
    others = Counter(expected.values())
    found = Counter(line["id"] for line in rough.lines)
    texts = {line["id"]: line.get("answer") for line in rough.lines}
    wrong = [id for id in asked if texts.get(id) is not None and texts[id] != expected[id]]
    return {
        "requests": len(asked),
        "lost": sum(texts.get(id) is None for id in asked),
        "doubled": sum(count - 1 for count in found.values()),
        "mixed": sum(texts[id] in others for id in wrong),
        "wrong_text": sum(texts[id] not in others for id in wrong),
        "strangers": len(set(found) - set(asked)),
        "swap_seen": _swap_seen(others),
    }


def _swap_seen(texts: Counter[Any]) -> float:
    """The share of pairs of requests that have different texts, so that a mix-up of the two would be seen."""
    total = texts.total()
    alike = sum(count * (count - 1) for count in texts.values())
    return round(1 - alike / max(1, total * (total - 1)), 4)


def rate(run: Run) -> float:
    """Answers per second between the first and the last one."""
    return (len(run.ends) - 1) / max(run.ends[-1] - run.ends[0], 1e-9)


def recoveries(run: Run, usual: float) -> list[dict[str, Any]]:
    """For each fault: the longest time without an answer until the next fault, and seconds until half the usual rate.

    ``usual``: answers per second. The latter is from the fault to the first moment from which on the next ``WINDOW``
    answers come at half that rate; None where the requests were over before.
    """
    starts = [fault["at"] for fault in run.faults]
    rows = []
    for number, fault in enumerate(run.faults):
        end = starts[number + 1] if number + 1 < len(starts) else run.ends[-1]
        inside = [fault["at"], *(t for t in run.ends if fault["at"] < t <= end)]
        pause = max((b - a for a, b in pairwise(inside)), default=end - fault["at"])
        after = [t for t in run.ends if t > fault["at"]]
        back = next(
            (a for a, b in zip(after, after[WINDOW:], strict=False) if WINDOW / max(b - a, 1e-9) >= usual / 2), None
        )
        rows.append(
            {
                "kind": fault["kind"],
                "what": fault["what"],
                "answered": fault["answered"],
                "mended_s": round(fault["mended"] - fault["at"], 2),
                "pause_s": round(pause, 2),
                "recovered_s": None if back is None else round(back - fault["at"], 2),
            }
        )
    return rows


def by_kind(rows: Sequence[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Median and longest times of each kind of fault."""
    kinds: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        kinds.setdefault(row["kind"], []).append(row)
    return {kind: {"count": len(found), **_times(found)} for kind, found in kinds.items()}


def _times(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    times: dict[str, Any] = {}
    for key in ("pause_s", "recovered_s"):
        known = [row[key] for row in rows if row[key] is not None]
        times[key] = {"median": round(median(known), 2), "longest": max(known)} if known else None
    return times
