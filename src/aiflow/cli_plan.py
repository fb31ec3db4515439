"""``aiflow plan``: which way a question would be answered, and why. Knows flags, nothing else."""

from pathlib import Path
from typing import Annotated, Any

import typer

from aiflow.cli_bench import Json


def plan(
    topology: Annotated[str, typer.Argument(help="A topology file; 'home' is the one that ships.")],
    profiles: Annotated[Path, typer.Option(help="File of measured profiles (--measure writes it).")],
    prompt_tokens: Annotated[int, typer.Option(help="Of the question's text.")] = 200,
    output_tokens: Annotated[int, typer.Option(help="Expected of the answer.")] = 128,
    image: Annotated[list[Path] | None, typer.Option(help="Picture files of the question.")] = None,
    deadline: Annotated[float | None, typer.Option(help="Seconds to the whole answer.")] = None,
    quality: Annotated[str, typer.Option(help="best, fast, or the least that will do: 0..1.")] = "best",
    exact: Annotated[bool, typer.Option("--exact", help="Only the top model's own text will do.")] = False,
    device: Annotated[str | None, typer.Option(help="The agent that is asked (default: the first device's).")] = None,
    team: Annotated[list[str] | None, typer.Option(help="Agents of a four-step collaboration.")] = None,
    every: Annotated[bool, typer.Option("--all", help="Every parameter of every mode.")] = False,
    place: Annotated[bool, typer.Option("--place", help="Show where the agents belong instead.")] = False,
    measure: Annotated[
        list[str] | None, typer.Option(help="NODE=MODEL to measure here first; writes --profiles.")
    ] = None,
    json: Json = False,
) -> None:
    """Choose how to answer: on the device, split, drafted and judged, as features, by a server, or by a team."""
    from aiflow import aio, planned
    from aiflow.collaboration.planning.task import Task
    from aiflow.errors import InputError

    if measure:
        aio.run(planned.measured(topology=topology, models=measure, out=profiles))
    sizes = []
    for path in image or []:
        if not path.is_file():
            raise InputError(f"image {str(path)!r} does not exist; pass the path of a picture file.")
        sizes.append(path.stat().st_size)
    task = Task(
        prompt_tokens=prompt_tokens,
        output_tokens=output_tokens,
        image_bytes=tuple(sizes),
        deadline=deadline,
        quality=_wish(quality),
        exact=exact,
    )
    if place:
        planned.placed(topology=topology, profiles=profiles, task=task, json=json)
        return
    planned.plan(
        topology=topology, profiles=profiles, task=task, device=device, team=team or [], every=every, json=json
    )


def _wish(text: str) -> Any:
    try:
        return float(text)
    except ValueError:
        return text
