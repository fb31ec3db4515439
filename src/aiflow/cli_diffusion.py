"""``aiflow demo | train | bench motion, depth, video``: the diffusion systems. Knows flags, nothing else."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from aiflow.cli_bench import Json, Report, Seed, bench

Weights = Annotated[Path, typer.Option(help="Folder for the models: one folder per seed and stage.")]
Seeds = Annotated[int, typer.Option(min=1, help="Models from how many seeds.")]
Quick = Annotated[bool, typer.Option("--quick", help="One seed, a fiftieth of the steps: a look at the form.")]
Plots = Annotated[Path | None, typer.Option(help="A folder for the figures.")]
Out = Annotated[Path | None, typer.Option("--out", "-o", help="The picture to write.")]
Topology = Annotated[str, typer.Option(help="A topology file; 'home' is the one that ships.")]
Local = Annotated[bool, typer.Option("--local", help="In this process, without a Ray cluster.")]
Steps = Annotated[int, typer.Option(min=1, max=1000, help="Denoising steps.")]
RUNS = Path("runs/diffusion")

demo = typer.Typer(invoke_without_command=True, help="Show it: the main job, or one of the diffusion systems.")


@demo.callback()
def main_job(
    context: typer.Context,
    limit: Annotated[int, typer.Option(min=8, help="Number of questions.")] = 64,
    report: Report = Path("runs/demo.html"),
    json: Json = False,
) -> None:
    """The main job: devices and a server answer held-out questions together, on a local Ray cluster.

    Or a diffusion system: motion (serial), depth (parallel), video (networked).
    """
    if context.invoked_subcommand is None:
        from aiflow.bench import nano

        nano.main(limit=limit, quick=True, report=report, json=json)


@demo.command("motion")
def demo_motion(
    text: Annotated[str | None, typer.Argument(help="What the two do; an example by default.")] = None,
    start: Annotated[int | None, typer.Option(min=0, help="Frame at which they begin to interact.")] = None,
    steps: Steps = 20,
    seed: Seed = 0,
    out: Out = None,
    topology: Topology = "home",
    local: Local = False,
    json: Json = False,
) -> None:
    """Serial: one node composes the motion of two people, another coordinates them; a GIF of two skeletons."""
    from aiflow.demos import motion

    motion.main(text, start=start, steps=steps, seed=seed, out=out, topology=topology, local=local, json=json)


@demo.command("depth")
def demo_depth(
    image: Annotated[Path | None, typer.Argument(help="A picture file; a procedural scene by default.")] = None,
    anchor: Annotated[str, typer.Option(help="Metres, 'auto' or 'pool'.")] = "pool",
    seed: Seed = 0,
    out: Out = None,
    topology: Topology = "home",
    local: Local = False,
    json: Json = False,
) -> None:
    """Parallel: a near and a far decoder on two nodes at the same time; a PNG of image, near, far and fused depth."""
    from aiflow.demos import depth

    depth.main(image, anchor=anchor, seed=seed, out=out, topology=topology, local=local, json=json)


@demo.command("video")
def demo_video(
    text: Annotated[str | None, typer.Argument(help="What is to be seen; an example by default.")] = None,
    given: Annotated[list[str] | None, typer.Option(help="A modality to condition on, of a procedural clip.")] = None,
    plan: Annotated[str, typer.Option(help="home, owner or cfg: what travels between the nodes.")] = "home",
    steps: Steps = 25,
    seed: Seed = 0,
    out: Out = None,
    topology: Topology = "home",
    local: Local = False,
    json: Json = False,
) -> None:
    """Networked: every modality of a clip on a node of its own, any of them given or made; a GIF of all four."""
    from aiflow.demos import video

    video.main(
        text, given=given or [], plan=plan, steps=steps, seed=seed, out=out, topology=topology, local=local, json=json
    )


@bench.command("motion")
def bench_motion(
    seeds: Seeds = 3,
    out: Weights = RUNS,
    quick: Quick = False,
    plots: Plots = None,
    json: Json = False,
) -> None:
    """Serial collaboration in the form of the paper's Table VII. Trains the baselines that are missing: hours."""
    from aiflow.bench.diffusion import motion, nodes

    motion.main(seeds=seeds, out=out, quick=quick, plots=plots, json=json, nodes=nodes.measure)


@bench.command("depth")
def bench_depth(
    seeds: Seeds = 3,
    out: Weights = RUNS,
    quick: Quick = False,
    json: Json = False,
) -> None:
    """Parallel collaboration in the form of the paper's Table VIII. Trains the baselines that are missing: an hour."""
    from aiflow.bench.diffusion import depth, nodes

    depth.main(seeds=seeds, out=out, quick=quick, json=json, nodes=nodes.measure)


@bench.command("video")
def bench_video(
    seeds: Seeds = 3,
    out: Weights = RUNS,
    quick: Quick = False,
    plots: Plots = None,
    json: Json = False,
) -> None:
    """Networked collaboration in the form of the paper's Table IX. Trains the baselines that are missing: hours."""
    from aiflow.bench.diffusion import nodes, video

    video.main(seeds=seeds, out=out, quick=quick, plots=plots, json=json, nodes=nodes.measure)


@bench.command("diffusion-faults")
def bench_faults(
    repetitions: Annotated[int, typer.Option(min=1, help="Runs, over the three systems.")] = 200,
    seed: Seed = 0,
    json: Json = False,
) -> None:
    """Nodes of the diffusion graphs that die, hang or babble at any step: how every run ended."""
    from aiflow.bench.diffusion import faults

    faults.main(repetitions=repetitions, seed=seed, json=json)


def add_training(train: typer.Typer) -> None:
    """Adds ``aiflow train motion | depth | video``."""
    said = {
        "motion": "composer, refiner and evaluator of two-person motion",
        "depth": "encoder, near and far decoder",
        "video": "the transformer of four modalities, its autoencoder and extractors",
    }
    for system, what in said.items():
        about = f"Train {what}, on procedural data: at most 90 minutes on 2 cores."
        train.command(system, help=about)(_trainer(system))


def _trainer(system: str) -> Callable[..., None]:
    def command(
        out: Annotated[Path | None, typer.Option(help="Folder (default: runs/diffusion/SYSTEM/seed-N).")] = None,
        seed: Seed = 0,
        only: Annotated[list[str] | None, typer.Option(help="Train only these stages, e.g. --only ins.")] = None,
        ship: Annotated[Path | None, typer.Option(help="Also assemble the pipeline that ships, here.")] = None,
        resume: Annotated[bool, typer.Option(help="Continue from checkpoints.")] = True,
    ) -> None:
        from aiflow.diffusion import training

        where = RUNS / system / f"seed-{seed}" if out is None else out
        training.train(system, where, seed=seed, only=only, resume=resume)
        if ship is not None:
            training.ship(system, where, ship)

    return command
