"""`aiflow train motion | depth | video`: the stages of a system, in order, each resumable. Knows no model.

A stage is complete when its folder holds a ``training.json`` with the same seed and the same recipe; until then its
checkpoint lies under ``checkpoints`` beside it, and a second run goes on from there.
"""

import hashlib
import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Any

from aiflow.errors import UsageError, suggest
from aiflow.fitting import Counted, Progress, Recipe, fit

SYSTEMS = ("motion", "depth", "video")


@dataclass(frozen=True, kw_only=True)
class Context:
    """What a stage may know: where it is, what came before, how to fit. ``out`` holds one folder per stage."""

    stage: str
    recipe: Recipe
    out: Path
    seed: int
    resume: bool
    progress: Progress

    @property
    def folder(self) -> Path:
        """Where the stage leaves its model."""
        return self.out / self.stage

    def before(self, stage: str) -> Path:
        """The folder of an earlier stage."""
        return self.out / stage

    def fit(
        self, model: Any, data: Callable[[int], Iterator[Counted]], backward: Callable[[Any, Any], float]
    ) -> dict[str, float]:
        """Trains by the stage's recipe; see `aiflow.fitting.fit`."""
        checkpoint = self.out / "checkpoints" / f"{self.stage}.pt"
        return fit(
            model,
            data,
            self.recipe,
            backward,
            stage=self.stage,
            checkpoint=checkpoint,
            resume=self.resume,
            progress=self.progress,
        )


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One thing to train. ``run`` leaves it in ``context.folder`` and returns facts for ``training.json``.

    ``needs``: stages that must be there before. ``ships``: part of what `aiflow train` makes; the others are baselines.
    """

    recipe: Recipe
    run: Callable[[Context], Mapping[str, Any]]
    needs: tuple[str, ...] = ()
    ships: bool = True


def tell(stage: str, step: int, steps: int, loss: float) -> None:
    """Writes one line of progress to stderr."""
    print(f"{stage} {step}/{steps} loss {loss:.4f}", file=sys.stderr, flush=True)


def stages(system: str) -> Mapping[str, Stage]:
    """What can be trained for a system. Raises UsageError."""
    if system not in SYSTEMS:
        raise UsageError(f"{system!r} is none of the systems; {suggest(system, list(SYSTEMS))}")
    found: Mapping[str, Stage] = import_module(f"aiflow.diffusion.{system}.train").STAGES
    return found


def train(
    system: str,
    out: Path,
    *,
    seed: int = 0,
    only: Sequence[str] | None = None,
    scale: float = 1.0,
    resume: bool = True,
    progress: Progress = tell,
    threads: int = 1,
) -> None:
    """Trains stages of a system into ``out`` (a folder per stage), with what they need; complete ones are kept.

    Args:
        system: "motion", "depth" or "video".
        out: folder of one seed's models.
        only: the stages; by default those that ship.
        scale: multiplies the steps of every stage.
        resume: go on from checkpoints, and keep what is complete.
        threads: of torch.

    Raises UsageError for an unknown system or stage, or a scale that is not positive.
    """
    import torch

    if scale <= 0:
        raise UsageError(f"the scale of the training must be above 0, not {scale}.")
    known = stages(system)
    for name in only or ():
        if name not in known:
            raise UsageError(f"{name!r} is no stage of `aiflow train {system}`; {suggest(name, list(known))}")
    wanted = [name for name, stage in known.items() if (stage.ships if only is None else name in only)]
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        for name in _ordered(wanted, known):
            recipe = replace(known[name].recipe, steps=max(1, round(known[name].recipe.steps * scale)))
            context = Context(stage=name, recipe=recipe, out=out, seed=seed, resume=resume, progress=progress)
            if not (resume and complete(context)):
                _run(known[name], context)
    finally:
        torch.set_num_threads(before)


def ship(system: str, trained: Path, weights: Path) -> None:
    """Assembles what `train` has left in ``trained`` into the pipeline folder ``weights``, as it ships (float16).

    Raises UsageError.
    """
    stages(system)
    import_module(f"aiflow.diffusion.{system}.train").ship(trained, weights)


def complete(context: Context) -> bool:
    """True if the stage was trained to its end with this seed and recipe."""
    try:
        said = json.loads((context.folder / "training.json").read_text())
    except (OSError, ValueError):
        return False
    return bool(said.get("seed") == context.seed and said.get("recipe") == digest(context.recipe))


def digest(recipe: Recipe) -> str:
    """Eight hex digits that change with a recipe."""
    return hashlib.sha256(json.dumps(asdict(recipe), sort_keys=True).encode()).hexdigest()[:8]


def _run(stage: Stage, context: Context) -> None:
    import torch

    torch.manual_seed(context.seed)
    context.folder.mkdir(parents=True, exist_ok=True)
    began, cpu = time.monotonic(), time.process_time()
    facts = stage.run(context)
    said = {
        "stage": context.stage,
        "seed": context.seed,
        "recipe": digest(context.recipe),
        **asdict(context.recipe),
        "seconds": round(time.monotonic() - began, 1),
        "cpu_seconds": round(time.process_time() - cpu, 1),
        "torch": torch.__version__,
        **facts,
    }
    (context.folder / "training.json").write_text(json.dumps(said, indent=1) + "\n")


def _ordered(wanted: Sequence[str], known: Mapping[str, Stage]) -> list[str]:
    """The wanted stages and what they need, needs first."""
    found: list[str] = []

    def add(name: str) -> None:
        for need in known[name].needs:
            add(need)
        if name not in found:
            found.append(name)

    for name in wanted:
        add(name)
    return found
