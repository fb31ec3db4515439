"""What happened at every question, arranged for the report: who was selected, what each said, how each revised."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from aiflow.bench.results import Results
from aiflow.bench.suite import Record, Said, Sample, Suite, Turn

LONGEST = 400
ALONE, ANSWER, FINAL = "alone", "answer", "revised"


@dataclass(frozen=True, kw_only=True)
class Voice:
    """One device in one turn: what it said alone, in the collaboration, and after revising."""

    name: str
    selected: bool
    alone: Said | None
    answer: Said | None
    final: Said | None

    def cells(self, heads: Sequence[str]) -> list[Said | None]:
        """What it said, in the order of the table's columns."""
        known = {ALONE: self.alone, ANSWER: self.answer, FINAL: self.final}
        return [known[head] for head in heads]


@dataclass(frozen=True, kw_only=True)
class Step:
    """One line of a trace, placed on a time line: ``left`` and ``width`` in percent of the turn."""

    left: float
    width: float
    record: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Joint:
    """One collaboration in one turn: its answer, its voices and its steps."""

    subject: str
    turn: Turn
    voices: Sequence[Voice]
    steps: Sequence[Step]

    @property
    def heads(self) -> list[str]:
        """The columns in which any voice said something."""
        known = ((ALONE, "alone"), (ANSWER, "answer"), (FINAL, "final"))
        return [head for head, name in known if any(getattr(voice, name) for voice in self.voices)]


@dataclass(frozen=True, kw_only=True)
class Page:
    """All that was said to one sample: by turn, the question, its reference and the collaborations."""

    sample: Sample
    turns: Sequence[tuple[str, str, Sequence[Joint]]]
    marks: Sequence[bool]


def pages(
    results: Results, suite: Suite, records: Mapping[str, Sequence[Record]], shown: Sequence[str] = ()
) -> Iterator[Page]:
    """A page per sample, in the suite's order, with the collaborations ``shown`` (none given: all)."""
    alone = [row.name for row in results.rows if row.group == "alone" and row.name in records]
    joint = [name for name in records if name in shown or (not shown and name not in alone)]
    for number, sample in enumerate(suite.samples):
        turns = []
        for turn, question in enumerate(sample.turns):
            single = {name: records[name][number].turns[turn] for name in alone}
            views = [_joint(n, records[n][number].turns[turn], single, first=n == joint[0]) for n in joint]
            reference = sample.references[turn] if turn < len(sample.references) else ""
            turns.append((question, reference, views))
        lead = records[(joint or alone)[0]][number]
        yield Page(sample=sample, turns=turns, marks=[(t.score or 0.0) >= suite.best for t in lead.turns])


def _joint(subject: str, turn: Turn, alone: Mapping[str, Turn], *, first: bool) -> Joint:
    """``first``: list every device, also those that were not asked; what they said alone stands there only."""
    voices = [
        Voice(
            name=name,
            selected=name in turn.selected,
            alone=_clip(Said(alone[name].text, alone[name].score)) if first and name in alone else None,
            answer=_clip(turn.answers.get(name)),
            final=_clip(turn.finals.get(name)),
        )
        for name in dict.fromkeys((*turn.answers, *(alone if first else ())))
    ]
    return Joint(subject=subject, turn=turn, voices=voices, steps=_steps(turn))


def _clip(said: Said | None) -> Said | None:
    if said is None or len(said.text) <= LONGEST:
        return said
    return Said(said.text[:LONGEST] + " [...]", said.score)


def _steps(turn: Turn) -> list[Step]:
    begin = min((step["started"] for step in turn.steps), default=0.0)
    end = max((step["started"] + step["seconds"] for step in turn.steps), default=0.0)
    span = max(end - begin, 1e-9)
    return [
        Step(left=100 * (s["started"] - begin) / span, width=max(100 * s["seconds"] / span, 0.4), record=s)
        for s in turn.steps
    ]
