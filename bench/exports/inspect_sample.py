"""One record as a sample of an Inspect log: talk, output, scores with the judges' words, every agent's turn as events.

Scores are on the suite's own scale; one that no judge could be understood about is NaN, which Inspect leaves out of its
metrics. Source: UKGovernmentBEIS/inspect_ai, log/_log.py, event/, scorer/_metric.py, as of 0.3.285.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from aiflow.bench.exports.run import Run, details, digest
from aiflow.bench.suite import Judgment, Record, Sample, Turn

SCORER = "score"
LONG, LONGEST = 1024, 5120
"""Characters of a value of metadata, and of a text, in the summary of a sample."""
Value = dict[str, Any]


def sample_of(run: Run, record: Record) -> Value:
    """The JSON of an ``EvalSample``."""
    question, subject = run.questions[record.sample], record.subject
    messages = list(_talk(question, record))
    seconds = sum(turn.seconds for turn in record.turns)
    usage = _usage(sum(turn.tokens for turn in record.turns))
    sample: Value = {
        "id": record.sample,
        "epoch": 1,
        "input": _input(question, messages),
        "target": _target(question),
        "messages": messages,
        "output": _output(subject, record.turns[-1], messages[-1]),
        "scores": scores(record),
        "metadata": _metadata(question, record),
        "store": {"aiflow:steps": [list(map(dict, turn.steps)) for turn in record.turns]},
        "events": [],
        "model_usage": {subject: usage},
        "role_usage": {},
        "started_at": run.time.isoformat(),
        "completed_at": run.time.isoformat(),
        "total_time": seconds,
        "working_time": seconds,
        "uuid": digest(run.header.suite, run.time, subject, record.sample),
        "attachments": {},
        "turn_count": len(record.turns),
    }
    sample["events"] = list(_events(run, record, sample))
    failed = [turn.error for turn in record.turns if turn.error]
    return sample | ({"error": {"message": failed[0], "traceback": "", "traceback_ansi": ""}} if failed else {})


def summary_of(sample: Mapping[str, Any]) -> Value:
    """The JSON of an ``EvalSampleSummary``: what a list of samples shows."""
    kept = ("id", "epoch", "model_usage", "role_usage", "started_at", "completed_at", "total_time", "working_time")
    found: Value = {name: sample[name] for name in (*kept, "uuid", "turn_count")}
    asked = sample["input"]
    found["input"] = _cut(asked) if isinstance(asked, str) else [m | {"content": _cut(m["content"])} for m in asked]
    found["target"] = list(map(_cut, t)) if isinstance(t := sample["target"], list) else _cut(t)
    found["metadata"] = {
        name: value[:LONG] if isinstance(value, str) else value
        for name, value in sample["metadata"].items()
        if isinstance(value, str) or len(str(value)) < LONG
    }
    found["scores"] = {
        name: {part: _cut(value) if isinstance(value, str) else value for part, value in score.items()}
        for name, score in sample["scores"].items()
    }
    told = {"error": sample["error"]["message"]} if "error" in sample else {}
    return found | told | {"completed": True, "message_count": len(sample["messages"])}


def scores(record: Record) -> dict[str, Value]:
    """``score``, and of several turns ``turn 1``, ``turn 2`` as well; each judgment's words, verdict and score."""
    last = record.turns[-1]
    said = [judgment for turn in record.turns for judgment in turn.judgments]
    found = {SCORER: _score(record.score, last.text, said)}
    if len(record.turns) > 1:
        for number, turn in enumerate(record.turns, 1):
            found[f"turn {number}"] = _score(turn.score, turn.text, list(turn.judgments))
    return found


def _score(value: float | None, answer: str, said: list[Judgment]) -> Value:
    told: Value = {"value": float("nan") if value is None else value, "answer": answer}
    if value is None:
        told["reason"] = "grader_failed"
    if said:
        told["explanation"] = "\n\n".join(
            f"{' '.join(filter(None, (j.judge, j.label)))}: {j.verdict or 'no verdict'}\n{j.text}" for j in said
        )
        names = ("judge", "label", "verdict", "score")
        told["metadata"] = {"judgments": [{name: getattr(j, name) for name in names} for j in said]}
    return told


def _talk(question: Sample, record: Record) -> Iterator[Value]:
    for number, (asked, turn) in enumerate(zip(question.turns, record.turns, strict=True)):
        ids = (digest(record.subject, record.sample, number, role) for role in ("user", "assistant"))
        yield {"id": next(ids), "content": asked, "source": "input", "role": "user"}
        said = {"id": next(ids), "content": turn.text, "source": "generate", "role": "assistant"}
        yield said | {"model": record.subject}


def _input(question: Sample, messages: list[Value]) -> str | list[Value]:
    """The question; of several turns what the user said, which were asked one by one."""
    return question.turns[0] if len(question.turns) == 1 else [m for m in messages if m["role"] == "user"]


def _target(question: Sample) -> str | list[str]:
    return question.references[0] if len(question.references) == 1 else list(question.references) or ""


def _metadata(question: Sample, record: Record) -> Value:
    known: Value = {"category": record.category}
    if question.group:
        known["group"] = question.group
    turns = [details(turn) for turn in record.turns]
    return {**question.data, **known, **({"turns": turns} if any(turns) else {})}


def _output(model: str, turn: Turn, message: Mapping[str, Any]) -> Value:
    choice = {"message": dict(message), "stop_reason": "unknown" if turn.error else "stop"}
    told: Value = {"model": model, "choices": [choice], "completion": turn.text, "usage": _usage(turn.tokens)}
    return told | {"time": turn.seconds} | ({"error": turn.error} if turn.error else {})


def _usage(tokens: int) -> Value:
    return {"input_tokens": 0, "output_tokens": tokens, "total_tokens": tokens}


def _events(run: Run, record: Record, sample: Mapping[str, Any]) -> Iterator[Value]:
    """The start, then of every turn what each agent said first and last, its steps, the answer; then the scores."""
    count = 0

    def event(kind: str, **told: Any) -> Value:
        nonlocal count
        count += 1
        base = {"uuid": digest(sample["uuid"], count), "timestamp": run.time.isoformat(), "working_start": 0.0}
        return {**base, "event": kind, **told}

    def model(name: str, before: list[Value], output: Value) -> Value:
        return event("model", model=name, input=before, tools=[], tool_choice="none", config={}, output=output)

    start = {"input": sample["input"], "target": sample["target"], "id": record.sample}
    yield event("sample_init", sample=start, state={})
    for number, turn in enumerate(record.turns):
        before = list(sample["messages"][: 2 * number + 1])
        for phase, texts in (("answers", turn.answers), ("finals", turn.finals)):
            for name, said in texts.items():
                message = {"id": digest(sample["uuid"], number, phase, name), "content": said.text}
                message |= {"source": "generate", "role": "assistant", "model": name}
                choice = {"message": message, "stop_reason": "stop"}
                output = {"model": name, "choices": [choice], "completion": said.text}
                yield model(name, before, output) | {"metadata": {"phase": phase, "score": said.score}}
        for step in turn.steps:
            yield event("info", source="aiflow", data=dict(step))
        yield model(record.subject, before, _output(record.subject, turn, sample["messages"][2 * number + 1]))
    for name, score in sample["scores"].items():
        yield event("score", score=score, target=sample["target"], scorer=name, intermediate=False)


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST else text[:LONGEST] + "..."
