"""AlpacaEval's files: what each model said, how it was annotated beside the baseline, and the leaderboard.

``alpaca_eval make_leaderboard``, ``evaluate`` and its notebooks read them. Fits AlpacaEval, and any suite of one-turn
questions whose judge chose between the baseline's output (``m`` or ``M``) and the model's.
A preference is 1 where the baseline is better, 2 where the model is; one that could not be read is null, and left out
of the leaderboard, as a failed turn is (it has no output and no annotation).
Of a collaboration the merged answer is the model's; its agents' texts are in the field ``aiflow``, which nobody reads.
Source: tatsu-lab/alpaca_eval.
"""

import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from aiflow.bench.exports.run import Files, Run, by_judge, document, extra, safe_names
from aiflow.bench.suite import Judgment, Record, Sample
from aiflow.bench.suites.alpaca_eval.score import win_rate
from aiflow.errors import UsageError

FITS = "AlpacaEval, and suites of one-turn questions whose judge chose m or M"
BASELINE = "gpt4_1106_preview"
FIGURES = ("length_controlled_winrate", "lc_standard_error")
"""Of the leaderboard's columns, those that need more than the preferences; taken from the run's results."""


def export(run: Run) -> Files:
    """``results/<model>/model_outputs.json``, the annotations beside it, ``leaderboards/<annotator>/leaderboard.csv``.

    And the baseline's ``reference_outputs.json``, where the questions have them.
    Raises UsageError for a run that does not fit.
    """
    _check(run)
    files: Files = {}
    boards: dict[str, dict[str, dict[str, Any]]] = {}
    annotators = safe_names(run.judges)
    for subject, records in run.subjects.items():
        name = run.files[subject]
        answered = [record for record in records if not record.turns[0].error]
        files[f"results/{name}/model_outputs.json"] = document([_output(run, name, record) for record in answered])
        for judge, annotator in annotators.items():
            if rows := _annotations(run, name, judge, answered):
                files[f"results/{name}/{annotator}/annotations.json"] = document(rows)
                boards.setdefault(annotator, {})[name] = _standing(run, subject, answered, rows)
    if rows := [_reference(run, sample) for sample in run.samples if reference(sample)]:
        files["reference_outputs.json"] = document(rows)
    for annotator, board in boards.items():
        files[f"leaderboards/{annotator}/leaderboard.csv"] = _csv(board)
    return files


def _check(run: Run) -> None:
    known = run.suite.startswith("alpaca_eval") or any(j.verdict in ("m", "M") for j in run.judgments)
    if not known or any(len(sample.turns) != 1 for sample in run.samples):
        raise UsageError(f"a run of {run.header.suite!r} has no place in AlpacaEval's files; they fit {FITS}.")
    if not run.samples:
        raise UsageError("the log of this run holds no questions, which AlpacaEval needs; use inspect or lm-eval.")


def _dataset(sample: Sample) -> str:
    return str(sample.data.get("dataset") or sample.category)


def _output(run: Run, name: str, record: Record) -> dict[str, Any]:
    sample = run.questions[record.sample]
    said = {"instruction": sample.turns[0], "output": record.turns[0].text, "generator": name}
    return said | {"dataset": _dataset(sample), "datasplit": "eval", **extra(record)}


def _reference(run: Run, sample: Sample) -> dict[str, Any]:
    said = {"instruction": sample.turns[0], "output": reference(sample), "generator": run.baseline or BASELINE}
    return said | {"dataset": _dataset(sample), "datasplit": "eval"}


def _annotations(run: Run, name: str, judge: str, records: Sequence[Record]) -> list[dict[str, Any]]:
    """What a judge said of each output; a score that nobody was asked for is there too: equal outputs are a draw."""
    said = [(record, by_judge(record.turns[0].judgments)) for record in records]
    if not any(judge in found for _, found in said):
        return []
    return [
        _annotation(run, name, judge, record, next(iter(found.get(judge, [])), None))
        for record, found in said
        if judge in found or not found
    ]


def _annotation(run: Run, name: str, judge: str, record: Record, judgment: Judgment | None) -> dict[str, Any]:
    sample = run.questions[record.sample]
    return {
        "instruction": sample.turns[0],
        "output_1": reference(sample),
        "generator_1": run.baseline or BASELINE,
        "dataset": _dataset(sample),
        "output_2": record.turns[0].text,
        "generator_2": name,
        "annotator": judge,
        "preference": preference(record, judgment),
        "time_per_example": judgment.seconds if judgment else 0.0,
        "raw_completion": {"text": judgment.text, **judgment.data} if judgment else None,
    }


def reference(sample: Sample) -> str:
    """The baseline's output; empty if the question does not have it."""
    told = sample.data.get("baseline")
    return told if isinstance(told, str) else next(iter(sample.references), "")


def preference(record: Record, judgment: Judgment | None) -> float | None:
    """1 (the baseline is better) to 2 (the model is); None where the judge could not be understood."""
    score = judgment.score if judgment else record.turns[0].score
    return None if score is None else 1 + score / 100


def _standing(run: Run, subject: str, records: Sequence[Record], rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    known = [row["preference"] for row in rows if row["preference"] is not None]
    if not known:
        return {}
    length = sum(len(record.turns[0].text) for record in records) // len(records)
    figures = run.figures(subject) if len(run.judges) == 1 else {}
    return (
        _won(known)
        | {"mode": "community", "avg_length": length}
        | {name: figures[name] for name in FIGURES if figures.get(name) is not None}
    )


def _won(preferences: Sequence[float]) -> dict[str, Any]:
    return {name: value for name, value in asdict(win_rate(preferences)).items() if name != "n_unparsed"}


def _csv(board: Mapping[str, Mapping[str, Any]]) -> bytes:
    columns = [*_won([]), "mode", "avg_length", *FIGURES]
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["", *columns])
    ordered = sorted(board.items(), key=lambda item: -item[1].get("win_rate", -1))
    writer.writerows([name, *(_cell(row.get(column, "")) for column in columns)] for name, row in ordered)
    return out.getvalue().encode()


def _cell(value: object) -> object:
    return "" if isinstance(value, float) and math.isnan(value) else value
