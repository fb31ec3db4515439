"""``aiflow batch QUESTIONS``: a file of questions to a graph, whatever dies meanwhile. Knows flags only."""

from pathlib import Path
from typing import Annotated

import typer

from aiflow.cli_bench import Json


def batch(
    questions: Annotated[
        Path, typer.Argument(help='JSON lines: {"id", "question"}, {"id", "messages"}, or OpenAI\'s.')
    ],
    journal: Annotated[Path, typer.Option(help="What is known so far, checkpoints included; the same file goes on.")],
    graph: Annotated[str, typer.Option(help="'home' or FILE.py:NAME of a graph, or of a function of the cluster.")] = (
        "home"
    ),
    topology: Annotated[str, typer.Option(help="A topology file; 'home' is the one that ships.")] = "home",
    address: Annotated[
        str | None, typer.Option(help="HOST:PORT of a running Ray cluster (default: one is started here).")
    ] = None,
    local: Annotated[bool, typer.Option("--local", help="No Ray: the agents live in the driver's process.")] = False,
    out: Annotated[Path | None, typer.Option(help="Write the answers here as JSON lines.")] = None,
    parallel: Annotated[int, typer.Option(min=1, help="Questions at a time.")] = 8,
    deadline: Annotated[float | None, typer.Option(min=0.001, help="Seconds for each attempt at a question.")] = None,
    attempts: Annotated[int, typer.Option(min=1, help="At a question whose agents fail.")] = 5,
    restarts: Annotated[int, typer.Option(min=0, help="Drivers in a row that may die with nothing done.")] = 10,
    wait: Annotated[float, typer.Option(min=0, help="Seconds to wait for a cluster at the address.")] = 300.0,
    lease: Annotated[float, typer.Option(min=0.5, help="Seconds until others take a silent driver for dead.")] = 15.0,
    again: Annotated[bool, typer.Option("--again", help="Try the questions that failed once more.")] = False,
    trace: Annotated[bool, typer.Option(help="Write each answer's steps too: who, how long, how many bytes.")] = False,
    json: Json = False,
) -> int:
    """Answer a file of questions; goes on from checkpoints when the driver or the cluster's head dies."""
    from aiflow import batch as batches
    from aiflow.batch_driver import Plan
    from aiflow.graphs.journal import driver_name

    plan = Plan(
        journal=str(journal),
        graph=graph,
        topology=topology,
        address=address,
        local=local,
        parallel=parallel,
        deadline=deadline,
        attempts=attempts,
        driver=driver_name(),
        lease=lease,
    )
    return batches.main(
        questions, plan=plan, out=out, restarts=restarts, wait=wait, again=again, trace=trace, json=json
    )
