"""FastChat's ``llm_judge`` folder, on which its ``show_result.py``, ``gen_judgment.py`` and ``qa_browser.py`` work.

Fits MT-Bench, and any suite of one- or two-turn questions that were rated 1..10 or compared in pairs. A turn that
failed reads ``$ERROR$``, as FastChat writes it, and was not judged: it has the score 0, or lost, as in our results. A
judgment without a rating has -1, one without a winner ``error``; FastChat drops both.
Of a collaboration the merged answer is the model's; its agents' texts are in the field ``aiflow``, which nobody reads.
Source: lm-sys/FastChat, fastchat/llm_judge.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from aiflow.bench.exports.run import Files, Run, by_judge, digest, extra, lines, number, safe_names
from aiflow.bench.suite import Judgment, Record, Sample
from aiflow.errors import UsageError

FITS = "MT-Bench, and suites with ratings of 1..10 or pairs judged A, B or C"
FAILED = "$ERROR$"
UNRATED = -1
GAMES = ("game 1", "game 2")
WITH_REFERENCE = frozenset({"math", "reasoning", "coding"})
_WINNER = {
    "A": ("model_1", "model_2"),
    "B": ("model_2", "model_1"),
    "C": ("tie", "tie"),
    "tie": ("tie", "tie"),
}
"""Verdict -> the winner in game 1, and in game 2, where the order is swapped."""


def export(run: Run) -> Files:
    """Questions, answers of every subject, judgments of every judge. Raises UsageError for a run that does not fit."""
    _check(run)
    folder = f"data/{run.suite}"
    files = {f"{folder}/question.jsonl": lines(map(_question, run.samples))}
    for subject, records in run.subjects.items():
        rows = (_answer(run, subject, record) for record in records)
        files[f"{folder}/model_answer/{run.files[subject]}.jsonl"] = lines(rows)
    for judge, name in safe_names(run.judges).items():
        for kind, judged in (("single", _singles), ("pair", _pairs)):
            if found := list(judged(run, judge)):
                files[f"{folder}/model_judgment/{name}_{kind}.jsonl"] = lines(found)
    return files


def _check(run: Run) -> None:
    known = run.suite.startswith("mt_bench") or any(_is_rating(j) or _is_pair(j) for j in run.judgments)
    if not known or any(len(sample.turns) > 2 for sample in run.samples):
        raise UsageError(f"a run of {run.header.suite!r} has no place in FastChat's files; they fit {FITS}.")
    if not run.samples:
        raise UsageError("the log of this run holds no questions, which FastChat needs; use inspect or lm-eval.")


def _question(sample: Sample) -> dict[str, Any]:
    row = {"question_id": number(sample.id), "category": sample.category, "turns": list(sample.turns)}
    return row | ({"reference": list(sample.references)} if sample.references else {})


def _answer(run: Run, subject: str, record: Record) -> dict[str, Any]:
    turns = [FAILED if turn.error else turn.text for turn in record.turns]
    return {
        "question_id": number(record.sample),
        "answer_id": digest(subject, record.sample, turns),
        "model_id": run.files[subject],
        "choices": [{"index": 0, "turns": turns}],
        "tstamp": run.time.timestamp(),
        **extra(record),
    }


def _turns(run: Run, judge: str) -> Iterator[tuple[Record, int, list[Judgment]]]:
    """Every turn with what a judge said of it: nothing where the turn failed."""
    for records in run.subjects.values():
        for record in records:
            for place, turn in enumerate(record.turns):
                said = by_judge(turn.judgments).get(judge, [])
                if said or turn.error:
                    yield record, place, said


def _singles(run: Run, judge: str) -> Iterator[dict[str, Any]]:
    if not any(j.judge == judge and j.label not in GAMES for j in run.judgments):
        return
    for record, turn, said in _turns(run, judge):
        if not said:
            yield _single(run, record, turn, judge, None)
        for judgment in said:
            if judgment.label not in GAMES:
                yield _single(run, record, turn, judge, judgment)


def _single(run: Run, record: Record, turn: int, judge: str, judgment: Judgment | None) -> dict[str, Any]:
    told = judgment.data if judgment else {}
    return {
        "question_id": number(record.sample),
        "model": run.files[record.subject],
        "judge": [judge, _template("single-v1", "single-math-v1", record, turn, told)],
        "user_prompt": str(told.get("prompt", "")),
        "judgment": judgment.text if judgment else None,
        "score": rating(judgment) if judgment else 0,
        "turn": turn + 1,
        "tstamp": run.time.timestamp(),
    }


def rating(judgment: Judgment) -> float:
    """What a judge gave, 1..10; -1 for nothing."""
    if judgment.score is not None:
        return int(judgment.score) if judgment.score == int(judgment.score) else judgment.score
    return UNRATED


def _pairs(run: Run, judge: str) -> Iterator[dict[str, Any]]:
    if not any(j.judge == judge and j.label in GAMES for j in run.judgments):
        return
    for record, turn, said in _turns(run, judge):
        games = {j.label: j for j in said if j.label in GAMES}
        if games or not said:
            yield _pair(run, record, turn, judge, games)


def _pair(run: Run, record: Record, turn: int, judge: str, games: Mapping[str, Judgment]) -> dict[str, Any]:
    told = next((j.data for j in games.values()), {})
    row: dict[str, Any] = {
        "question_id": number(record.sample),
        "model_1": run.files[record.subject],
        "model_2": run.baseline or "baseline",
    }
    for place, game in enumerate(GAMES):
        verdict = games[game].verdict.strip("[]") if game in games else ""
        lost = "error" if games else "model_2"
        row[f"g{place + 1}_winner"] = _WINNER[verdict][place] if verdict in _WINNER else lost
    row["judge"] = [judge, _template("pair-v2", "pair-math-v1", record, turn, told)]
    for place, game in enumerate(GAMES, 1):
        said = games.get(game)
        row[f"g{place}_user_prompt"] = str(said.data.get("prompt", "")) if said else ""
        row[f"g{place}_judgment"] = said.text if said else ""
    return row | {"turn": turn + 1, "tstamp": run.time.timestamp()}


def _template(plain: str, with_reference: str, record: Record, turn: int, told: Mapping[str, Any]) -> str:
    name = with_reference if record.category in WITH_REFERENCE else plain
    return str(told.get("template") or (f"{name}-multi-turn" if turn else name))


def _is_rating(judgment: Judgment) -> bool:
    return judgment.label not in GAMES and judgment.verdict not in ("m", "M", "=") and 1 <= rating(judgment) <= 10


def _is_pair(judgment: Judgment) -> bool:
    return judgment.label in GAMES and judgment.verdict.strip("[]") in _WINNER
