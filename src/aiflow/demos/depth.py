"""`aiflow demo depth`: an image's depth from a near and a far decoder, which work on two nodes at the same time."""

import time
from pathlib import Path
from typing import Any

from aiflow.demos import stage
from aiflow.errors import InputError

PLACED = {
    "encoder": ("camera", "aiflow:depth#encoder"),
    "near": ("edge", "aiflow:depth#near"),
    "far": ("cloud", "aiflow:depth#far"),
}


def main(
    image: Path | None,
    *,
    anchor: str,
    seed: int,
    out: Path | None,
    topology: str,
    local: bool,
    json: bool,
) -> None:
    """Runs the parallel graph, writes the PNG and prints what each node did. Raises InputError, AgentError."""
    from aiflow.diffusion.depth.picture import save
    from aiflow.graphs import parallel

    pixels, truth = _scene(seed) if image is None else (_read(image), None)
    began = time.monotonic()
    with stage.stage(topology, PLACED, local=local) as cluster:
        graph = parallel(cluster["encoder"], cluster["near"], cluster["far"], anchor=_anchor(anchor))
        state, depth = stage.run(graph, {}, cluster, context={"image": pixels})
    path = save(out or Path("runs/demo-depth.png"), pixels, depth, truth)
    stage.finish(state, path, began, as_json=json, used=list(state["used"]))


def _anchor(said: str) -> Any:
    if said in ("auto", "pool"):
        return said
    try:
        return float(said)
    except ValueError:
        raise InputError(f"anchor={said!r} is neither metres nor 'auto' nor 'pool'.") from None


def _scene(seed: int) -> tuple[Any, Any]:
    """A held-out procedural scene, indoors for even seeds; pixels and true depth."""
    from aiflow.diffusion.depth.scenes import scenes

    found = scenes("outdoor" if seed % 2 else "indoor", "test", 1, start=seed)
    return found.image_BHW3[0], found.depth_BHW[0]


def _read(path: Path) -> Any:
    import numpy as np
    from PIL import Image, UnidentifiedImageError

    try:
        return np.asarray(Image.open(path).convert("RGB"))
    except FileNotFoundError:
        raise InputError(f"image {str(path)!r} does not exist; pass the path of a picture file.") from None
    except (UnidentifiedImageError, OSError) as error:
        raise InputError(f"{str(path)!r} is not an image that can be read: {error}") from error
