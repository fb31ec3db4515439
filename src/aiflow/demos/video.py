"""`aiflow demo video`: the four modalities of a clip, each on a node of its own, some given and the others made."""

import time
from pathlib import Path
from typing import Any

from aiflow.demos import stage
from aiflow.errors import InputError, suggest

PLACED = {
    "backbone": ("cloud", "aiflow:video#backbone"),
    "rgb": ("phone", "aiflow:video#rgb"),
    "depth": ("camera", "aiflow:video#depth"),
    "segment": ("tablet", "aiflow:video#segment"),
    "edges": ("laptop", "aiflow:video#edges"),
}
SECOND = {"replica": ("edge", "aiflow:video#backbone")}
"""For the plan in which two backbones share the guidance."""


def main(
    text: str | None,
    *,
    given: list[str],
    plan: str,
    steps: int,
    seed: int,
    out: Path | None,
    topology: str,
    local: bool,
    json: bool,
) -> None:
    """Runs the networked graph, writes the GIF and prints what each node did. Raises InputError, AgentError."""
    from aiflow.diffusion.video.data import generate
    from aiflow.diffusion.video.picture import gif, sheet
    from aiflow.graphs import networked

    names = [name for name in PLACED if name != "backbone"]
    if unknown := [name for name in given if name not in names]:
        raise InputError(f"{unknown[0]!r} is no modality; {suggest(unknown[0], names)}")
    if text is not None and given:
        raise InputError(
            "--given takes the clip of a procedural scene, whose text is its own; leave out one of the two."
        )
    clip = generate("test", 1, start=seed)
    caption = text or clip.captions[0]
    conditions = {name: clip.views[name][0] for name in given}
    began = time.monotonic()
    with stage.stage(topology, PLACED | (SECOND if plan == "cfg" else {}), local=local) as cluster:
        backbone: Any = [cluster["backbone"], cluster["replica"]] if plan == "cfg" else cluster["backbone"]
        graph = networked(backbone, {name: cluster[name] for name in names}, plan=plan)  # type: ignore[arg-type]
        asked = {"prompt": caption, "seed": seed, "steps": steps}
        state, made = stage.run(graph, asked, cluster, context=conditions)
    views = conditions | {name: video.clip for name, video in made.items()}
    path = gif(out or Path("runs/demo-video.gif"), sheet([views], [caption], [state["roles_used"]]))
    print(caption)
    stage.finish(state, path, began, as_json=json, roles=state["roles_used"], caption=caption)
