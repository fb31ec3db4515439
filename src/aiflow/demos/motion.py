"""`aiflow demo motion`: a phone composes the motion of two people, the edge coordinates them; both as a GIF."""

import time
from pathlib import Path
from typing import Any

from aiflow.demos import stage

PLACED = {"composer": ("phone", "aiflow:motion#ins"), "refiner": ("edge", "aiflow:motion#rec")}
EXAMPLE = 7
"""Of the held-out scenes."""
JOINTS = 66  # the first features of a person are the joints' places


def main(
    text: str | None,
    *,
    start: int | None,
    steps: int,
    seed: int,
    out: Path | None,
    topology: str,
    local: bool,
    json: bool,
) -> None:
    """Runs the serial graph, writes the GIF and prints what each node did. Raises InputError, AgentError."""
    from aiflow.diffusion.motion.party import Motion
    from aiflow.diffusion.motion.picture import draw
    from aiflow.errors import InputError
    from aiflow.graphs import serial

    if text is None and start is not None:
        raise InputError("--start belongs to a text; give both, or neither for the example.")
    scene = _example() if text is None else _asked(text, start)
    asked = {"prompt": scene["caption"], "segments": scene["segments"], "frames": scene["frames"]}
    began = time.monotonic()
    with stage.stage(topology, PLACED, local=local) as cluster:
        graph = serial(cluster["composer"], cluster["refiner"])
        state, motion = stage.run(graph, asked | {"steps": steps, "seed": seed}, cluster)
        alone = stage.fetch(state | {"result": state["estimate"]}, cluster)

    def joints(one: Motion) -> Any:
        return one.u[..., :JOINTS].reshape(2, -1, 22, 3)

    scenes = {"composed on the phone": joints(alone), "refined on the edge": joints(motion)}
    path = draw(
        out or Path("runs/demo-motion.gif"),
        scenes if state["refined"] else {"composed on the phone": joints(motion)},
        caption=scene["caption"],
        kinds=[kind for kind, _ in scene["segments"]],
        starts=[at for _, at in scene["segments"]],
        touches=scene["touches"],
    )
    print(scene["caption"])
    stage.finish(state, path, began, as_json=json, refined=state["refined"], caption=scene["caption"])


def _example() -> dict[str, Any]:
    from aiflow.diffusion.motion.data import scenes

    clip = scenes("test", EXAMPLE + 1)[EXAMPLE]
    segments = [[kind, at] for kind, at in zip(clip.kinds, clip.starts, strict=True)]
    return {"caption": clip.caption, "segments": segments, "frames": clip.frames, "touches": clip.touches}


def _asked(text: str, start: int | None) -> dict[str, Any]:
    from aiflow.diffusion.motion.scene import FRAMES

    segments: list[list[Any]] = [["interaction", 0]] if not start else [["solo", 0], ["interaction", start]]
    return {"caption": text, "segments": segments, "frames": FRAMES, "touches": ()}
