"""`aiflow train nano`, `family`, `drafter` and `tofc`: models from a seed, resumable, one worker process per stage.

Stages come in waves; a stage alone in its wave gets two threads, the others run two at a time with one thread each.
Last, the skills are measured on the held-out suites and the model cards written from the measurements.
"""

import asyncio
import importlib
import json
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from aiflow.errors import AiflowError, UsageError, suggest
from aiflow.fitting import Progress, Recipe
from aiflow.nano import WEIGHTS

WAVES = {
    "nano": (("base",), ("server", "math", "islands", "text", "minerals", "code")),
    "family": (("generalist", "tower"), ("model", "hpcd"), ("family",)),
    "drafter": (("family/drafter",),),
    "tofc": (("family/tofc",),),
}
"""What each group trains, in order; a wave needs the ones before it."""
FAMILY_STAGES = ("tower", "model", "family", "hpcd", "family/drafter", "family/tofc")
OF_FAMILY = ("drafter", "tofc")
"""Groups that need the vision family, and add to its folder."""


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
    group: str = "nano",
    seed: int = 0,
    only: Sequence[str] | None = None,
    resume: bool = True,
    scale: float = 1.0,
    work: Path | None = None,
    progress: Progress = tell,
    evaluate: bool = True,
) -> None:
    """Trains a group of models into ``out`` (one folder per stage).

    The cards need the whole group; they are left out while a model is missing.

    Args:
        out: folder of the weights; a group "nano" in part and the group "family" need ``out / "base"``, which for the
            family is copied from the shipped weights if it is not there.
        group: "nano" (the devices and the server), "family" (the vision family and the low-rank one), "drafter" or
            "tofc" (the drafter, or the feature codec, of the vision family in ``out``).
        seed: decides data, initial weights and order.
        only: the stages to train, of `WAVES`; all by default.
        resume: continue from the checkpoints and skip stages that are complete.
        scale: multiplies the steps of every stage.
        work: folder of the checkpoints; ``checkpoints/seed-<seed>`` beside ``out`` by default.
        progress: called with (stage, step, steps, mean loss) at every checkpoint; writes to stderr by default.
        evaluate: measure the skills and write the model cards.

    Raises:
        UsageError: for an unknown model name, a scale that is not positive, an adapter without a base, or a drafter or
            codec without a family.
        TrainingError: if a worker fails.
    """
    stages = [stage for wave in WAVES[group] for stage in wave]
    if unknown := sorted(set(only or ()) - set(stages)):
        raise UsageError(f"{unknown[0]!r} is no model of `aiflow train {group}`; {suggest(unknown[0], stages)}")
    waves = [[stage for stage in wave if only is None or stage in only] for wave in WAVES[group]]
    if scale <= 0:
        raise UsageError(f"the scale of the training must be above 0, not {scale}")
    if group in OF_FAMILY:
        if not (out / "family" / "model.safetensors").is_file():
            raise UsageError(f"there is no family in {out}; make it first with `aiflow train family`")
    elif "base" not in waves[0] and not (out / "base" / "model.safetensors").is_file():
        if group == "nano":
            raise UsageError(f"there is no base in {out}; train it first or leave out `only`")
        shutil.copytree(WEIGHTS / "base", out / "base")
    work = work or out.parent / "checkpoints" / f"seed-{seed}"
    try:
        asyncio.run(_stages(waves, _Plan(out, work, seed, scale, resume, progress)))
    except ExceptionGroup as failed:
        raise failed.exceptions[0] from None
    if not evaluate or not all((out / stage / "training.json").is_file() for stage in stages):
        return
    if group == "nano":
        from aiflow.nano.cards import write_cards

        write_cards(out)
    elif group == "family":
        from aiflow.nano.family.cards import ship

        ship(out)
    elif group == "tofc":
        from aiflow.nano.family import profile

        profile.ship(out)


async def _stages(waves: Sequence[Sequence[str]], plan: _Plan) -> None:
    gate = asyncio.Semaphore(2)

    async def one(stage: str, threads: int) -> None:
        async with gate:
            await _worker(stage, plan, threads=threads)

    for wave in waves:
        async with asyncio.TaskGroup() as group:
            for stage in wave:
                group.create_task(one(stage, 2 if len(wave) == 1 else 1))


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
        _room(stage),
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
    from aiflow.nano.stages import scaled

    recipes: dict[str, Recipe] = importlib.import_module(_room(stage)).RECIPES
    report = plan.out / stage / "training.json"
    if not report.is_file():
        return False
    said = json.loads(report.read_text())
    return bool(said["seed"] == plan.seed and said["step"] == scaled(recipes[stage], plan.scale).steps)


def _room(stage: str) -> str:
    """The module that knows a stage."""
    return "aiflow.nano.family.stages" if stage in FAMILY_STAGES else "aiflow.nano.stages"
