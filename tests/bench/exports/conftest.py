"""Four small runs as the suites log them, with all that can happen: unread judgments, failed turns, draws, a team."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from aiflow.bench.log import Header, RunLog
from aiflow.bench.suite import Judgment, Record, Said, Sample, Turn
from aiflow.types import Options

RUN = {
    "time": "2026-01-02T03:04:05+00:00",
    "commit": "0123456789ab+",
    "versions": {"aiflow": "0.1.0", "ray": None},
    "seed": 0,
    "models": ["org/alice", "bob"],
}
TEAM: dict[str, Any] = {
    "seconds": 1.5,
    "tokens": 12,
    "bytes": {"phone-cloud": 345},
    "selected": ("bob",),
    "answers": {"bob": Said("Bob's <first>", 4.0)},
    "finals": {"bob": Said("Bob's last", None)},
    "steps": ({"step": "answer", "agent": "bob", "completion_tokens": 5},),
}


def write(
    folder: Path, suite: str, samples: Sequence[Sample], records: Sequence[Record], results: Mapping[str, Any] = {}
) -> Path:
    """A finished run's folder."""
    with RunLog(folder, Header(suite=suite, run=dict(RUN))) as log:
        if samples:
            log.ask(samples)
        for record in records:
            log.append(record)
        log.finish(results)
    return folder


def rated(value: float | None, turn: int) -> tuple[Judgment, ...]:
    words = "I cannot say." if value is None else f"Fine. [[{value:g}]]"
    verdict = "" if value is None else f"{value:g}"
    return (Judgment(judge="gpt-4", text=words, verdict=verdict, score=value, label=f"turn {turn}", tokens=9),)


def mt_bench(folder: Path) -> Path:
    samples = [
        Sample(id="81", category="writing", turns=("Write é.", "Again."), options=Options(temperature=0.7, seed=81)),
        Sample(id="101", category="math", turns=("1+1?", "And 2+2?"), references=("2", "4")),
    ]

    def talk(subject: str, sample: str, category: str, values: Sequence[float | None], **more: Any) -> Record:
        turns = tuple(
            Turn(text=f"{subject} {sample}.{n}", score=value, judgments=rated(value, n), **more)
            for n, value in enumerate(values, 1)
        )
        return Record(subject=subject, sample=sample, category=category, turns=turns)

    failed = (
        Turn(text="", score=0.0, error="DeadlineError: late"),
        Turn(text="", score=0.0, error="an earlier turn failed"),
    )
    records = [
        talk("org/alice", "101", "math", (7.5, None), seconds=0.25, tokens=3),
        talk("org/alice", "81", "writing", (9.0, 6.0), seconds=0.5, tokens=4),
        talk("merged", "81", "writing", (8.0, 10.0), **TEAM),
        Record(subject="merged", sample="101", category="math", turns=failed),
    ]
    return write(folder, "mt-bench", samples, records, {"seconds": 60, "models": {"merged": {"average": 4.5}}})


def pairwise(folder: Path) -> Path:
    samples = [Sample(id=name, category="writing", turns=(f"Q{name}?",)) for name in ("1", "2", "3", "4")]

    def games(sample: str, first: str, second: str, score: float | None) -> Record:
        said = tuple(
            Judgment(judge="gpt-4", text=f"[[{verdict}]]", verdict=verdict, label=f"game {n}")
            for n, verdict in enumerate((first, second), 1)
        )
        turn = Turn(text="mine", score=score, judgments=said)
        return Record(subject="alice", sample=sample, category="writing", turns=(turn,))

    failed = Record(subject="alice", sample="4", category="writing", turns=(Turn(text="", score=0.0, error="late"),))
    records = [games("1", "A", "B", 100.0), games("2", "A", "A", 50.0), games("3", "tie", "", None), failed]
    return write(folder, "mt-bench-pairwise", samples, records)


def alpaca_eval(folder: Path) -> Path:
    samples = [
        Sample(id=str(n), category="koala", turns=(f"Do {n}.",), data={"baseline": f"Done {n}."}) for n in range(5)
    ]

    def judged(subject: str, sample: str, text: str, score: float | None, verdict: str) -> Record:
        data = {"logprobs": [[["m", -0.25], ["M", -1.5]]], "order": "model, baseline"}
        said = Judgment(judge="judge", text=verdict, verdict=verdict, score=score, seconds=0.125, data=data)
        return Record(
            subject=subject, sample=sample, category="koala", turns=(Turn(text=text, score=score, judgments=(said,)),)
        )

    draw = Turn(text="Done 3.", score=50.0)
    records = [
        judged("alice", "0", "Yes, done.", 75.0, "m"),
        judged("alice", "1", "No.", 12.5, "M"),
        judged("alice", "2", "?", None, ""),
        Record(subject="alice", sample="3", category="koala", turns=(draw,)),
        Record(subject="alice", sample="4", category="koala", turns=(Turn(text="", score=0.0, error="late"),)),
        judged("merged", "0", "Better.", 100.0, "m"),
    ]
    figures = {"alice": {"length_controlled_winrate": 40.5, "lc_standard_error": 1.25}}
    return write(folder, "alpaca-eval", samples, records, {"models": figures})


ARENA: dict[str, tuple[float | None, float | None]] = {
    "A>>B": (0.0, 100.0),
    "A>B": (0.0, 100.0),
    "A=B": (50.0, 50.0),
    "B>A": (100.0, 0.0),
    "B>>A": (100.0, 0.0),
    "": (None, None),
}
"""Label -> what the answer gets in each game; the baseline is A in the first."""


def arena_hard(folder: Path) -> Path:
    samples = [
        Sample(id=f"u{n}", category="arena-hard-v0.1", turns=(f"Prompt {n}",), data={"cluster": "C++"})
        for n in range(4)
    ]

    def games(subject: str, sample: str, verdicts: Sequence[str], text: str, **more: Any) -> Record:
        said = tuple(
            Judgment(
                judge="gpt-4-1106-preview",
                text=f"[[{verdict}]]",
                verdict=verdict,
                score=ARENA[verdict][n - 1],
                label=f"game {n}",
            )
            for n, verdict in enumerate(verdicts, 1)
        )
        turn = Turn(text=text, score=50.0, judgments=said, **more)
        return Record(subject=subject, sample=sample, category="arena-hard-v0.1", turns=(turn,))

    records = [
        games("org/alice", "u0", ("B>>A", "A>B"), "# Title\n\n- **one**\n```\n# no\n```"),
        games("org/alice", "u1", ("A=B", "B>A"), "plain"),
        games("org/alice", "u2", ("A>B", ""), "unread"),
        Record(
            subject="org/alice",
            sample="u3",
            category="arena-hard-v0.1",
            turns=(Turn(text="", score=0.0, error="late"),),
        ),
        games("merged", "u0", ("B>A", "A>>B"), "joint", **TEAM),
    ]
    return write(folder, "arena-hard", samples, records)


def vqa(folder: Path) -> Path:
    samples = [
        Sample(id=f"a/{n}", category="count", turns=("How many?",), references=("2",), group="a", data={"hint": None})
        for n in range(3)
    ]
    scores = (("0", "2", 100.0), ("1", "3", 0.0))
    records = [
        Record(
            subject="eye",
            sample=f"a/{n}",
            category="count",
            turns=(Turn(text=text, score=score, seconds=0.5, tokens=1),),
        )
        for n, text, score in scores
    ]
    return write(folder, "MME", samples, records, {"models": {"eye": {"perception": 100, "score": 50.0}}})


RUNS = {"mt-bench": mt_bench, "pairwise": pairwise, "alpaca": alpaca_eval, "arena": arena_hard, "vqa": vqa}


@pytest.fixture
def make(tmp_path: Path) -> Callable[[str], Path]:
    """Name of a run -> its folder."""
    return lambda name: RUNS[name](tmp_path / name)
