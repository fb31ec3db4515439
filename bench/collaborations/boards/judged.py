"""Boards of free text that a judge compared or rated: AlpacaEval 2.0, Arena-Hard, MT-Bench.

Free texts are no votes, so every answer is a candidate of its own; of most AlpacaEval models only lengths are known.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from aiflow.bench.collaborations.board import Board, Figures, Ints
from aiflow.bench.collaborations.boards.make import Entry, make
from aiflow.errors import DataError

ADVERSARIAL = ("NullModel", "gpt4_gamed")
"""Entries that attack the judge instead of answering; no agents."""


def alpaca_eval(data: Path | None = None) -> Board:
    """All models with recorded preferences but the adversarial ones; the score is the win rate. Raises DataError.

    Needs the folder that holds the models as columns, which alone tells the instructions of all.
    """
    from aiflow.bench.suites import alpaca_eval as suite
    from aiflow.bench.suites.alpaca_eval import data as files
    from aiflow.bench.suites.alpaca_eval.score import wins

    said = suite.outputs(data)
    known = {one.model: one for one in suite.load(data) if one.model not in ADVERSARIAL}
    rows = {m: dict(zip(one.ids, range(len(one.ids)), strict=True)) for m, one in known.items()}
    worth = {m: wins(one.preference_N, m) for m, one in known.items()}
    entries = []
    for asked in files.questions(data):
        there = [(m, rows[m].get(asked.id)) for m in known]
        entries.append(
            Entry(
                id=asked.id,
                question=asked.instruction,
                category=asked.dataset,
                answers=[said.get(m, {}).get(asked.id, ("",))[0] for m in known],
                votes=list(known),
                scores=[float("nan") if n is None else worth[m][n] for m, n in there],
                lengths=[0.0 if n is None else float(np.nan_to_num(known[m].length_N[n])) for m, n in there],
            )
        )
    return make("AlpacaEval 2.0", tuple(known), entries, figures=_length_controlled(known, data))


def _length_controlled(known: Mapping[str, Any], data: Path | None) -> Figures:
    from aiflow.bench.suites import alpaca_eval as suite

    control = suite.control(data)
    base = {name: one for model in known.values() for name, one in zip(model.ids, model.baseline_length_N, strict=True)}
    judged = {m: dict(zip(one.ids, one.preference_N, strict=True)) for m, one in known.items()}

    def figures(part: Board, who_Q: Ints) -> dict[str, Any]:
        names = [part.members[int(m)] for m in who_Q]
        kept = [q for q, (m, i) in enumerate(zip(names, part.ids, strict=True)) if i in judged[m]]
        places = [int(part.ids[q]) for q in kept]
        lengths = [part.lengths_MQ[who_Q[q], q] for q in kept]
        found = suite.length_controlled(
            [judged[names[q]][part.ids[q]] for q in kept],
            lengths,
            [base[part.ids[q]] for q in kept],
            control.difficulty[places],
            control.gamed,
        )
        length = float(np.mean(lengths))
        return {"length_controlled_winrate": found.length_controlled_winrate, "avg_length": length}

    return figures


def arena_hard(data: Path | None = None) -> Board:
    """The models with battles against the baseline; the score is v0.1's win rate. Raises DataError.

    With one baseline the published Bradley-Terry win rate is the mean over battles, which is what is taken here.
    """
    from aiflow.bench.suites.arena_hard import config
    from aiflow.bench.suites.arena_hard import data as files

    folder = files.locate(data)
    baseline, battles = config.baseline(folder), files.battles(folder).rows
    shares: dict[tuple[str, str], list[float]] = {}
    for row in battles:
        if baseline in (row.model_a, row.model_b):
            model, mine = (row.model_b, "model_b") if row.model_a == baseline else (row.model_a, "model_a")
            points = 0.5 if row.winner == "tie" else float(row.winner == mine)
            shares.setdefault((model, row.question), []).append(points)
    members = tuple(sorted({model for model, _ in shares}))
    if not members:
        raise DataError(f"{folder} holds no battles against {baseline}; add {files.BATTLES}.")
    said = files.answers(folder)
    entries = []
    for asked in files.questions(folder):
        won = [shares.get((m, asked.id), []) for m in members]
        entries.append(
            Entry(
                id=asked.id,
                question=asked.prompt,
                category=asked.category or "arena-hard",
                answers=[said.get(m, {}).get(asked.id, "") for m in members],
                votes=list(members),
                scores=[float(np.mean(points)) if points else float("nan") for points in won],
                weights=[float(len(points)) for points in won],
            )
        )
    return make("Arena-Hard", members, entries)


def mt_bench(data: Path | None = None) -> Board:
    """The recorded models' conversations; the score is the mean rating of both turns. Raises DataError."""
    from aiflow.bench.suites.mt_bench import data as files

    recorded = files.load(files.find(data or files.default_folder()))
    ratings, members = recorded.ratings, recorded.models
    entries = [
        Entry(
            id=sample.id,
            question="\n".join(sample.turns),
            category=sample.category,
            answers=["\n".join(recorded.answers[m][sample.id]) for m in members],
            votes=list(members),
            scores=[float(np.mean(ratings[m][sample.id])) / 10 for m in members],
        )
        for sample in recorded.samples
    ]

    def figures(part: Board, who_Q: Ints) -> dict[str, Any]:
        rated = [ratings[part.members[int(m)]][name] for name, m in zip(part.ids, who_Q, strict=True)]
        first, second = np.mean(rated, axis=0)
        return {"turn_1": float(first), "turn_2": float(second), "average": float((first + second) / 2)}

    return make("MT-Bench", members, entries, best=10.0, unit="/10", figures=figures)
