"""lm-evaluation-harness' files of a run: per subject ``results_<time>.json`` and ``samples_<task>_<time>.jsonl``.

Fits every run. A question is a document, each of its turns a request; of a later turn the argument is the talk so far,
as JSON. The metric is ``score``, on the suite's own scale, beside the figures that the run's results give. A turn that
failed has an empty response and the score 0; a question without a score has no ``score`` and does not count.
Of a collaboration the merged answer is the response; its agents' texts are in the field ``aiflow``, which nobody reads.
Source: EleutherAI/lm-evaluation-harness, loggers/evaluation_tracker.py, result_schema.py, as of 0.4.13.
"""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from aiflow.bench.exports.run import Files, Run, document, extra, lines
from aiflow.bench.suite import Record, Sample, Turn

METRIC, FILTER = "score", "none"
VERSION = 1.0


def export(run: Run) -> Files:
    """A folder for each subject."""
    files: Files = {}
    stamp = run.time.replace(tzinfo=None).isoformat(timespec="microseconds").replace(":", "-")
    task = re.sub(r"\W", "_", run.suite)
    places = {name: place for place, name in enumerate(run.questions)}
    for subject, records in run.subjects.items():
        rows = [_row(places[record.sample], run.questions[record.sample], record) for record in records]
        folder = run.files[subject]
        files[f"{folder}/results_{stamp}.json"] = document(_results(run, task, subject, records, rows))
        files[f"{folder}/samples_{task}_{stamp}.jsonl"] = lines(rows)
    return files


def _row(place: int, sample: Sample, record: Record) -> dict[str, Any]:
    doc: dict[str, Any] = {"id": sample.id, "category": sample.category, "turns": list(sample.turns)}
    doc |= {"references": list(sample.references), **({"data": dict(sample.data)} if sample.data else {})}
    target = "\n".join(sample.references)
    asked = _asked(sample.turns, record.turns)
    known = {} if record.score is None else {METRIC: record.score}
    return {
        "doc_id": place,
        "doc": doc,
        "target": target,
        "arguments": {f"gen_args_{n}": {"arg_0": text, "arg_1": _options(sample)} for n, text in enumerate(asked)},
        "resps": [[turn.text] for turn in record.turns],
        "filtered_resps": [turn.text for turn in record.turns],
        "filter": FILTER,
        "metrics": list(known),
        "doc_hash": _hash(json.dumps(doc, indent=2, ensure_ascii=False)),
        "prompt_hash": _hash(asked[0]),
        "target_hash": _hash(target),
        **known,
        **extra(record),
    }


def _asked(questions: Sequence[str], turns: Sequence[Turn]) -> list[str]:
    """What each turn's request was: the question, or from the second on the talk in the OpenAI form."""
    talk: list[dict[str, str]] = []
    found = []
    for question, turn in zip(questions, turns, strict=True):
        talk.append({"role": "user", "content": question})
        found.append(json.dumps(talk, ensure_ascii=False) if len(talk) > 1 else question)
        talk.append({"role": "assistant", "content": turn.text})
    return found


def _options(sample: Sample) -> dict[str, Any]:
    how = sample.options
    if how is None:
        return {}
    told = {"max_gen_toks": how.max_tokens, "temperature": how.temperature, "until": list(how.stop)}
    return told | {"do_sample": how.temperature > 0}


def _results(
    run: Run, task: str, subject: str, records: Sequence[Record], rows: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    scores = [record.score for record in records if record.score is not None]
    return {
        "results": {task: _figures(run, task, subject, scores, len(rows))},
        "groups": {},
        "group_subtasks": {task: []},
        "configs": {task: _config(task)},
        "versions": {task: VERSION},
        "n-shot": {task: 0},
        "higher_is_better": {task: {METRIC: True}},
        "n-samples": {task: {"original": len(run.questions), "effective": len(rows)}},
        "config": _settings(run, subject),
        "git_hash": run.header.run.get("commit"),
        "date": run.time.timestamp(),
        "task_hashes": {task: _hash("".join(r["doc_hash"] + r["prompt_hash"] + r["target_hash"] for r in rows))},
        "model_source": "aiflow",
        "model_name": subject,
        "model_name_sanitized": run.files[subject],
        "system_instruction": None,
        "system_instruction_sha": None,
        "fewshot_as_multiturn": None,
        "chat_template": None,
        "chat_template_sha": None,
        "total_evaluation_time_seconds": str(sum(turn.seconds for record in records for turn in record.turns)),
    }


def _figures(run: Run, task: str, subject: str, scores: Sequence[float], rows: int) -> dict[str, Any]:
    """``score`` with its standard error, and every number that the results publish of the subject."""
    found: dict[str, Any] = {"name": task, "alias": task, "sample_len": rows}
    if scores:
        mean = sum(scores) / len(scores)
        squares = sum((score - mean) ** 2 for score in scores)
        error = (squares / (len(scores) - 1) / len(scores)) ** 0.5 if len(scores) > 1 else "N/A"
        found |= {f"{METRIC},{FILTER}": mean, f"{METRIC}_stderr,{FILTER}": error}
    for name, value in run.figures(subject).items():
        if isinstance(value, int | float) and not isinstance(value, bool) and name != METRIC:
            found[f"{name.replace(',', ' ')},{FILTER}"] = value
    return found


def _config(task: str) -> dict[str, Any]:
    metric = {"metric": METRIC, "aggregation": "mean", "higher_is_better": True}
    told = {"task": task, "output_type": "generate_until", "metric_list": [metric], "num_fewshot": 0, "repeats": 1}
    return told | {"metadata": {"version": VERSION}}


def _settings(run: Run, subject: str) -> dict[str, Any]:
    seed = run.header.run.get("seed")
    settings: dict[str, Any] = {"model": "aiflow", "model_args": {"model": subject}, "batch_size": None}
    settings |= {"batch_sizes": [], "device": None, "use_cache": None, "limit": None, "bootstrap_iters": 0}
    return settings | {"gen_kwargs": None, "random_seed": seed, "numpy_seed": seed, "torch_seed": seed}


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
