"""`aiflow train nano`: the whole family from a seed, resumable, one worker process per stage.

The base trains first with two threads; then the adapters, two at a time with one thread each. Last, the skills are
measured on the held-out suite and the model cards written from the measurements.
"""

import asyncio
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from aiflow.errors import AiflowError, UsageError, suggest
from aiflow.nano import MODELS
from aiflow.nano.loop import Progress

ORDER = ("base", "server", "math", "islands", "text", "minerals", "code")


class TrainingError(AiflowError, RuntimeError):
    """A worker process failed; the message ends with what it wrote to stderr."""


@dataclass(frozen=True)
class _Plan:
    out: Path
    work: Path
    seed: int
    scale: float
    resume: bool
    progress: Progress


def tell(stage: str, step: int, steps: int, loss: float) -> None:
    """Writes one line of progress to stderr."""
    print(f"{stage} {step}/{steps} loss {loss:.3f}", file=sys.stderr, flush=True)


def train(
    out: Path,
    *,
    seed: int = 0,
    only: Sequence[str] | None = None,
    resume: bool = True,
    scale: float = 1.0,
    work: Path | None = None,
    progress: Progress = tell,
    evaluate: bool = True,
) -> None:
    """Trains the family into ``out`` (one folder per model).

    The cards need the whole family; they are left out while a model is missing.

    Args:
        out: folder of the weights; an adapter needs ``out / "base"``.
        seed: decides data, initial weights and order.
        only: the models to train, of `aiflow.nano.MODELS`; all by default.
        resume: continue from the checkpoints and skip stages that are complete.
        scale: multiplies the steps of every stage.
        work: folder of the checkpoints; ``checkpoints/seed-<seed>`` beside ``out`` by default.
        progress: called with (stage, step, steps, mean loss) at every checkpoint; writes to stderr by default.
        evaluate: measure the skills and write the model cards.

    Raises:
        UsageError: for an unknown model name, a scale that is not positive, or an adapter without a base.
        TrainingError: if a worker fails.
    """
    wanted = [m for m in ORDER if only is None or m in only]
    if unknown := sorted(set(only or ()) - set(MODELS)):
        raise UsageError(f"{unknown[0]!r} is no nano model; {suggest(unknown[0], list(MODELS))}")
    if scale <= 0:
        raise UsageError(f"the scale of the training must be above 0, not {scale}")
    if "base" not in wanted and not (out / "base" / "model.safetensors").is_file():
        raise UsageError(f"there is no base in {out}; train it first or leave out `only`")
    work = work or out.parent / "checkpoints" / f"seed-{seed}"
    try:
        asyncio.run(_stages(wanted, _Plan(out, work, seed, scale, resume, progress)))
    except ExceptionGroup as group:
        raise group.exceptions[0] from None
    if evaluate and all((out / m / "training.json").is_file() for m in MODELS):
        from aiflow.nano.cards import write_cards

        write_cards(out)


async def _stages(wanted: list[str], plan: _Plan) -> None:
    if "base" in wanted:
        await _worker("base", plan, threads=2)
    gate = asyncio.Semaphore(2)

    async def one(stage: str) -> None:
        async with gate:
            await _worker(stage, plan, threads=1)

    async with asyncio.TaskGroup() as group:
        for stage in wanted:
            if stage != "base":
                group.create_task(one(stage))


async def _worker(stage: str, plan: _Plan, *, threads: int) -> None:
    if plan.resume and _complete(stage, plan):
        return
    options = {
        "stage": stage,
        "out": str(plan.out),
        "work": str(plan.work),
        "seed": plan.seed,
        "scale": plan.scale,
        "resume": plan.resume,
        "threads": threads,
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "aiflow.nano.stages",
        json.dumps(options),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stdout
    assert process.stderr
    errors = asyncio.create_task(process.stderr.read())
    try:
        async for line in process.stdout:
            if line.startswith(b"{"):
                said = json.loads(line)
                plan.progress(said["stage"], said["step"], said["steps"], said["loss"])
        if await process.wait():
            raise TrainingError(f"training {stage!r} failed:\n{(await errors).decode()[-2000:]}")
    finally:
        if process.returncode is None:
            process.terminate()
            await process.wait()


def _complete(stage: str, plan: _Plan) -> bool:
    """A stage is complete if its folder reports the same seed and all the steps of the recipe."""
    from aiflow.nano.stages import RECIPES, scaled

    report = plan.out / stage / "training.json"
    if not report.is_file():
        return False
    said = json.loads(report.read_text())
    return bool(said["seed"] == plan.seed and said["step"] == scaled(RECIPES[stage], plan.scale).steps)
