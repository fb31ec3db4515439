"""Arena-Hard's data folder, on which its ``show_result.py`` and ``qa_browser.py`` work: in the form of v0.1, or of v2.

Fits Arena-Hard, and any suite of one-turn questions that a judge compared with a baseline in two games, by labels from
``A>>B`` to ``B>>A``. In game 1 the baseline is A, in game 2 the answer is. A label that could not be read is null,
which both versions drop; so is a game that was not played. A turn that failed was not judged: it lost both games, as in
our results, without words.
Of a collaboration the merged answer is the model's; its agents' texts are in the field ``aiflow``, which nobody reads.
Source: lmarena/arena-hard-auto, before and since its version 2.
"""

from collections.abc import Sequence
from typing import Any

from aiflow.bench.exports.run import Files, Run, by_judge, digest, extra, lines, safe_names
from aiflow.bench.exports.style import style
from aiflow.bench.suite import Judgment, Record, Sample
from aiflow.errors import UsageError

FITS = "Arena-Hard, and suites of one-turn questions judged A>>B, A>B, A=B, B>A or B>>A in two games"
LABELS = frozenset({"A>>B", "A>B", "A=B", "B>A", "B>>A", "A<<B", "A<B", "B=A", "B<<A", "B<A"})
GAMES = ("game 1", "game 2")
BASELINES = {"arena-hard-v0.1": "gpt-4-0314", "creative_writing": "gemini-2.0-flash-001"}
"""By category; of the others, which are all of v2, ``o3-mini-2025-01-31``."""
_NEWER = "o3-mini-2025-01-31"
_LOST = tuple(
    Judgment(judge="", text="", verdict=verdict, label=game)
    for verdict, game in zip(("A>B", "B>A"), GAMES, strict=True)
)
Games = Sequence[Judgment | None]


def export(run: Run) -> Files:
    """In the form of the questions' own version. Raises UsageError for a run that does not fit."""
    newer = any(sample.data.get("version") == "v2" for sample in run.samples)
    return export_v2(run) if newer else export_v01(run)


def export_v01(run: Run) -> Files:
    """v0.1: ids are ``question_id``, answers have ``choices``."""
    return _files(run, "arena-hard-v0.1", newer=False)


def export_v2(run: Run) -> Files:
    """v2: ids are ``uid``, answers have ``messages``, judgments name category and baseline."""
    return _files(run, "arena-hard-v2.0", newer=True)


def _check(run: Run) -> None:
    known = run.suite.startswith("arena_hard") or any(label(j) and j.label in GAMES for j in run.judgments)
    if not known or any(len(sample.turns) != 1 for sample in run.samples):
        raise UsageError(f"a run of {run.header.suite!r} has no place in Arena-Hard's files; they fit {FITS}.")
    if not run.samples:
        raise UsageError("the log of this run holds no questions, which Arena-Hard needs; use inspect or lm-eval.")


def label(judgment: Judgment) -> str | None:
    """What the judge said; None where it could not be read."""
    found = judgment.verdict.strip("[]")
    return found if found in LABELS else None


def _files(run: Run, bench: str, *, newer: bool) -> Files:
    _check(run)
    folder = f"data/{bench}"
    files = {f"{folder}/question.jsonl": lines(_question(sample, newer) for sample in run.samples)}
    for subject, records in run.subjects.items():
        answer = _answer_v2 if newer else _answer
        rows = (answer(run, subject, record) for record in records)
        files[f"{folder}/model_answer/{run.files[subject]}.jsonl"] = lines(rows)
        for judge, name in safe_names(run.judges).items():
            judgment = _judgment_v2 if newer else _judgment
            found = [
                judgment(run, subject, record, judge, games)
                for record in records
                if (games := _games(run, record, judge))
            ]
            if found:
                files[f"{folder}/model_judgment/{name}/{run.files[subject]}.jsonl"] = lines(found)
    return files


def _games(run: Run, record: Record, judge: str) -> Games:
    """Both games by a judge; nothing where it judged no games."""
    if record.turns[0].error:
        return _LOST if any(j.judge == judge and j.label in GAMES for j in run.judgments) else ()
    said = {j.label: j for j in by_judge(record.turns[0].judgments).get(judge, [])}
    return [said.get(game) for game in GAMES] if any(game in said for game in GAMES) else ()


def _words(game: Judgment | None) -> str | None:
    return None if game in _LOST else game.text if game else ""


def _question(sample: Sample, newer: bool) -> dict[str, Any]:
    kind = str(sample.data.get("subcategory") or sample.data.get("cluster") or "")
    if newer:
        return {"uid": sample.id, "category": sample.category, "subcategory": kind, "prompt": sample.turns[0]}
    turns = [{"content": text} for text in sample.turns]
    return {"question_id": sample.id, "category": "arena-hard-v0.1", "cluster": kind, "turns": turns}


def _answer(run: Run, subject: str, record: Record) -> dict[str, Any]:
    text = record.turns[0].text
    counts = style(text)
    return {
        "question_id": record.sample,
        "answer_id": digest(subject, record.sample, text),
        "model_id": run.files[subject],
        "choices": [{"index": 0, "turns": [{"content": text, "token_len": counts["token_len"]}]}],
        "tstamp": run.time.timestamp(),
        "conv_metadata": counts,
        **extra(record),
    }


def _answer_v2(run: Run, subject: str, record: Record) -> dict[str, Any]:
    text = record.turns[0].text
    asked = {"role": "user", "content": run.questions[record.sample].turns[0]}
    return {
        "uid": record.sample,
        "ans_id": digest(subject, record.sample, text),
        "model": run.files[subject],
        "messages": [asked, {"role": "assistant", "content": {"answer": text}}],
        "tstamp": run.time.timestamp(),
        "metadata": style(text),
        **extra(record),
    }


def _judgment(run: Run, subject: str, record: Record, judge: str, games: Games) -> dict[str, Any]:
    return {
        "question_id": record.sample,
        "model": run.files[subject],
        "judge": judge,
        "games": [
            {
                "user_prompt": str(game.data.get("prompt", "")) if game else "",
                "judgment": _words(game),
                "score": label(game) if game else None,
            }
            for game in games
        ],
    }


def _judgment_v2(run: Run, subject: str, record: Record, judge: str, games: Games) -> dict[str, Any]:
    category = run.questions[record.sample].category
    return {
        "uid": record.sample,
        "category": category,
        "judge": judge,
        "model": run.files[subject],
        "baseline": run.baseline or BASELINES.get(category, _NEWER),
        "games": [
            {
                "score": label(game),
                "judgment": {"answer": _words(game)},
                "prompt": [{"role": "user", "content": str(game.data.get("prompt", ""))}],
            }
            if game
            else None
            for game in games
        ],
    }
