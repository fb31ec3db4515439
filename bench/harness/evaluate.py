"""Runs lm-evaluation-harness's tasks on a subject, and keeps its own result format. The one place that imports it."""

from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from aiflow.bench.harness.adapter import Adapter
from aiflow.bench.harness.subjects import Direct, subject_of
from aiflow.errors import InputError

_EXTRA = 'lm-evaluation-harness is not installed; pip install "aiflow[lm-eval]".'


def model(subject: Any, *, parallel: int = 8, deadline: float | None = None, **backend_options: Any) -> Any:
    """An ``lm_eval.api.model.LM`` that asks ``subject``: a model string, an agent, a compiled graph, or a Subject.

    ``parallel`` requests are in flight at once, each at most ``deadline`` seconds. Log-likelihoods need a model string
    of the transformers back end. Raises InputError, also where the library is not installed, and what back ends raise.
    """
    base = _library("api.model").LM
    made = type("AiflowLM", (Adapter, base), {"__init__": Adapter.__init__})(
        subject_of(subject, **backend_options), parallel=parallel, deadline=deadline
    )
    own = dict(vars(made))
    base.__init__(made)
    vars(made).update(own)
    return made


def run(
    tasks: Sequence[str | Mapping[str, Any]],
    subject: Any,
    *,
    limit: int | None = None,
    few_shot: int | None = None,
    chat: bool = False,
    include_path: Path | None = None,
    generation: Mapping[str, Any] | None = None,
    parallel: int = 8,
    deadline: float | None = None,
    seed: int = 0,
    out: Path | None = None,
    **backend_options: Any,
) -> dict[str, Any]:
    """Evaluates ``subject`` (see ``model``) on tasks of the harness by name, and returns its results.

    ``limit``: questions of each task; ``chat``: few-shot examples and system prompts as turns of a conversation;
    ``include_path``: a folder with further task files (YAML), which need no network where their data are local;
    ``generation`` overrides the tasks' settings; ``out``: where results and samples are written in the harness's own
    layout. The entry ``aiflow`` counts requests and errors. Raises InputError for an unknown task, and as ``model``.
    """
    evaluator, catalogue = _library("evaluator"), _library("tasks")
    manager = catalogue.TaskManager(include_path=str(include_path) if include_path else None)
    unknown = [task for task in tasks if isinstance(task, str) and not manager.match_tasks([task])]
    if unknown or not tasks:
        raise InputError(f"no task {', '.join(map(repr, unknown)) or 'was named'}; see `lm_eval ls tasks`.")
    made = model(subject, parallel=parallel, deadline=deadline, **backend_options)
    tracker = _library("loggers").EvaluationTracker(output_path=str(out)) if out else None
    try:
        found: dict[str, Any] = evaluator.simple_evaluate(
            model=made,
            model_args={"model": made.subject.name},
            tasks=[task if isinstance(task, str) else dict(task) for task in tasks],
            num_fewshot=few_shot,
            limit=limit,
            gen_kwargs=dict(generation) if generation else None,
            task_manager=manager,
            apply_chat_template=chat,
            evaluation_tracker=tracker,
            random_seed=seed,
            numpy_random_seed=seed,
            torch_random_seed=seed,
            fewshot_random_seed=seed,
        )
    finally:
        _release(made.subject, subject)
    found["aiflow"] = {"requests": 0, "errors": 0, **made.counts, "first_error": made.first_error}
    if tracker:
        _write(tracker, found)
    return found


def _release(used: Any, given: Any) -> None:
    """Closes the back end that was made here."""
    from aiflow import aio

    if isinstance(used, Direct) and used is not given:
        aio.run(used.backend.close())


def _write(tracker: Any, found: Mapping[str, Any]) -> None:
    samples = found["samples"]
    tracker.save_results_aggregated(results={k: v for k, v in found.items() if k != "samples"}, samples=samples)
    for task, rows in samples.items():
        tracker.save_results_samples(task_name=task, samples=rows)


def _library(name: str) -> Any:
    try:
        return import_module(f"lm_eval.{name}")
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] != "lm_eval":
            raise
        raise InputError(_EXTRA) from error
