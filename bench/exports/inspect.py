"""Inspect's logs of a run, one per subject: ``.eval`` (a zip) or ``.json``, which ``inspect view`` and
``read_eval_log`` read. Fits every run.

Times inside of a run are not logged: every sample starts with it; how long it took is told. The zip's entries bear no
time of their own, so the same run gives the same bytes.
Source: UKGovernmentBEIS/inspect_ai, log/_log.py and log/_recorders/eval.py, log format 2, as of 0.3.285.
"""

import io
import json
import zipfile
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from aiflow.bench.exports.inspect_sample import SCORER, Value, sample_of, scores, summary_of
from aiflow.bench.exports.run import Files, Run, digest
from aiflow.bench.suite import Record

FORMAT = 2
_EPOCH = (1980, 1, 1, 0, 0, 0)
_STATUS = {"stopped": "cancelled"}


def export(run: Run) -> Files:
    """``<time>_<task>_<id>.eval`` for each subject."""
    return {f"{_name(run, subject)}.eval": _zipped(run, subject) for subject in run.subjects}


def export_json(run: Run) -> Files:
    """``<time>_<task>_<id>.json`` for each subject."""
    found: Files = {}
    for subject, records in run.subjects.items():
        samples = [sample_of(run, record) for record in records]
        log = _header(run, subject) | {"samples": samples, "reductions": _reductions(records)}
        found[f"{_name(run, subject)}.json"] = _bytes(log)
    return found


def _zipped(run: Run, subject: str) -> bytes:
    records = run.subjects[subject]
    header = _header(run, subject)
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as file:

        def add(name: str, value: object) -> None:
            entry = zipfile.ZipInfo(name, _EPOCH)
            entry.compress_type, entry.create_system, entry.external_attr = zipfile.ZIP_DEFLATED, 3, 0o600 << 16
            file.writestr(entry, _bytes(value))

        add("_journal/start.json", {name: header[name] for name in ("version", "eval", "plan")})
        summaries = []
        for record in records:
            sample = sample_of(run, record)
            add(f"samples/{sample['id']}_epoch_{sample['epoch']}.json", sample)
            summaries.append(summary_of(sample))
        add("_journal/summaries/1.json", summaries)
        add("summaries.json", summaries)
        add("reductions.json", _reductions(records))
        add("header.json", header)
    return out.getvalue()


def _bytes(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def _name(run: Run, subject: str) -> str:
    parts = (run.time.isoformat(timespec="seconds"), run.suite, _id(run, subject, "task"))
    return "_".join("".join("-" if c in "_/:+" else c for c in part) for part in parts)


def _id(run: Run, subject: str, what: str) -> str:
    return digest(run.header.suite, run.time, subject, what)


def _header(run: Run, subject: str) -> Value:
    """The JSON of an ``EvalLog`` without its samples."""
    records, header = run.subjects[subject], run.header
    took = header.results.get("seconds")
    end = run.time + timedelta(seconds=took) if isinstance(took, int | float) else None
    tokens = sum(turn.tokens for record in records for turn in record.turns)
    used = {"input_tokens": 0, "output_tokens": tokens, "total_tokens": tokens}
    log: Value = {
        "version": FORMAT,
        "status": _STATUS.get(header.status, header.status),
        "eval": _spec(run, subject),
        "plan": {"name": "plan", "steps": [{"solver": "aiflow", "params": {}, "params_passed": {}}], "config": {}},
        "results": _results(run, subject),
        "stats": {
            "started_at": run.time.isoformat(),
            "completed_at": end.isoformat() if end else "",
            "model_usage": {subject: used},
            "role_usage": {},
        },
        "invalidated": False,
    }
    if header.error:
        log["error"] = {"message": header.error, "traceback": "", "traceback_ansi": ""}
    return log


def _spec(run: Run, subject: str) -> Value:
    told = run.header.run
    versions, commit = told.get("versions"), told.get("commit")
    metrics: list[Value] = [{"name": name, "options": {}} for name in ("inspect_ai/mean", "inspect_ai/stderr")]
    spec: Value = {
        "eval_id": _id(run, subject, "eval"),
        "run_id": digest(run.header.suite, run.time),
        "created": run.time.isoformat(),
        "task": run.suite,
        "task_id": _id(run, subject, "task"),
        "task_version": 0,
        "task_display_name": run.header.suite,
        "task_attribs": {},
        "task_args": {},
        "task_args_passed": {},
        "dataset": {
            "name": run.header.suite,
            "samples": len(run.questions),
            "sample_ids": list(run.questions),
            "shuffled": False,
        },
        "model": subject,
        "model_generate_config": {},
        "model_args": {},
        "config": {"epochs": 1},
        "packages": {k: v for k, v in versions.items() if isinstance(v, str)} if isinstance(versions, dict) else {},
        "metadata": dict(told),
        "scorers": [{"name": SCORER, "options": {}, "metrics": metrics, "metadata": {}}],
    }
    if len(run.judges) == 1:
        spec["model_roles"] = {"grader": {"model": run.judges[0], "config": {}, "args": {}}}
    if isinstance(commit, str):
        dirty = commit.endswith("+")
        spec["revision"] = {"type": "git", "origin": "", "commit": commit.removesuffix("+"), "dirty": dirty}
    return spec


def _results(run: Run, subject: str) -> Value:
    records = run.subjects[subject]
    found = [_entry(name, values) for name, values in _columns(records).items()]
    published: Value = {
        name: {"name": name, "value": value, "params": {}}
        for name, value in run.figures(subject).items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    }
    if published:
        entry: Value = {"name": "published", "scorer": run.suite, "scored_samples": len(records)}
        found.append(entry | {"unscored_samples": 0, "params": {}, "metrics": published})
    failed = sum(any(turn.error for turn in record.turns) for record in records)
    return {"total_samples": len(run.questions), "completed_samples": len(records) - failed, "scores": found}


def _columns(records: Sequence[Record]) -> dict[str, list[float | None]]:
    """Each score's values, a record each; None for one that is NaN."""
    found: dict[str, list[float | None]] = {}
    for record in records:
        for name, score in scores(record).items():
            value = score["value"]
            found.setdefault(name, []).append(None if value != value else value)
    return found


def _entry(name: str, values: Sequence[float | None]) -> Value:
    known = [value for value in values if value is not None]
    metrics: dict[str, Any] = {}
    if known:
        mean = sum(known) / len(known)
        squares = sum((value - mean) ** 2 for value in known)
        error = (squares / (len(known) - 1) / len(known)) ** 0.5 if len(known) > 1 else 0.0
        metrics = {n: {"name": n, "value": v, "params": {}} for n, v in (("mean", mean), ("stderr", error))}
    entry: Value = {"name": name, "scorer": SCORER, "scored_samples": len(known)}
    return entry | {"unscored_samples": len(values) - len(known), "params": {}, "metrics": metrics}


def _reductions(records: Sequence[Record]) -> list[Value]:
    rows: dict[str, list[Value]] = {}
    for record in records:
        for name, score in scores(record).items():
            rows.setdefault(name, []).append({**score, "sample_id": record.sample})
    return [{"scorer": name, "reducer": None, "samples": found} for name, found in rows.items()]
