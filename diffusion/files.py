"""Where models lie, how they are loaded, and what identifies them. Heavy libraries are imported on use.

diffusers refuses to import a class that a folder names (it could be anybody's), so the classes that may be loaded are
listed here.
"""

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

from aiflow.errors import UnknownModelError, WeightsError, suggest

WEIGHTS = Path(__file__).parent / "weights"
PIPELINES = {
    "motion": ("aiflow.diffusion.motion.pipeline", "InterleavedMotionPipeline"),
    "depth": ("aiflow.diffusion.depth.pipeline", "NearFarDepthPipeline"),
    "video": ("aiflow.diffusion.video.pipeline", "OmniVideoPipeline"),
}


def folder(name: str | Path) -> Path:
    """The folder of a saved pipeline: ``motion``, ``depth``, ``video`` (those that ship), or a path.

    Raises UnknownModelError.
    """
    path = WEIGHTS / name if str(name) in PIPELINES else Path(name).expanduser()
    if (path / "model_index.json").is_file():
        return path
    if str(name) in PIPELINES:
        raise UnknownModelError(f"the weights of {str(name)!r} are not in {path}; make them: `aiflow train {name}`.")
    raise UnknownModelError(
        f"{str(name)!r} holds no pipeline (no model_index.json); {suggest(str(name), [*PIPELINES])}"
    )


def system(path: Path) -> str:
    """Which of the three systems a folder's pipeline is. Raises WeightsError, UnknownModelError."""
    try:
        found = json.loads((path / "model_index.json").read_text())["_class_name"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise WeightsError(f"{path / 'model_index.json'} cannot be read: {error}; save the pipeline again.") from error
    for name, (_, cls) in PIPELINES.items():
        if cls == found:
            return name
    known = [cls for _, cls in PIPELINES.values()]
    raise UnknownModelError(f"{path} holds a {found!r}, which is no pipeline of aiflow; {suggest(str(found), known)}")


def load(name: str | Path, **components: Any) -> Any:
    """Loads a pipeline of aiflow, in float32 on the CPU.

    Args:
        name: what `folder` reads.
        components: as for ``from_pretrained``: ``rec=None`` leaves a component out, an object replaces it.

    Raises UnknownModelError, WeightsError (damaged or missing files).
    """
    path = folder(name)
    module, cls = PIPELINES[system(path)]
    kind = getattr(import_module(module), cls)
    try:
        with _quiet():
            pipeline = kind.from_pretrained(path, local_files_only=True, **components)
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise WeightsError(f"the pipeline in {path} cannot be loaded: {error}") from error
    pipeline.set_progress_bar_config(disable=True)
    _align(pipeline)
    return pipeline


def _align(pipeline: Any) -> None:
    """Moves weights out of the mapped file: on some processors the last bits of a product depend on where it lies."""
    import torch

    for part in pipeline.components.values():
        if isinstance(part, torch.nn.Module):
            for tensor in (*part.parameters(), *part.buffers()):
                tensor.data = tensor.data.clone()


@contextmanager
def _quiet() -> Iterator[None]:
    """Without diffusers' progress bar and remarks, which would stand in the middle of a command's output."""
    from diffusers.utils import logging

    level = logging.get_verbosity()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        logging.enable_progress_bar()


def fingerprint(*modules: Any) -> str:
    """16 hex digits that change with any weight, shape or name of the modules, as they are in float32."""
    digest = hashlib.sha256()
    for module in modules:
        for name, tensor in sorted(module.state_dict().items()):
            digest.update(f"{name}{tuple(tensor.shape)}".encode())
            digest.update(tensor.detach().cpu().float().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]


def schedule_hash(scheduler: Any, steps: int) -> str:
    """16 hex digits that change with whatever decides a scheduler's steps: class, options, their number."""
    config = {key: value for key, value in sorted(scheduler.config.items()) if not key.startswith("_")}
    said = json.dumps([type(scheduler).__name__, config, steps], sort_keys=True, default=str)
    return hashlib.sha256(said.encode()).hexdigest()[:16]
