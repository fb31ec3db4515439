"""The command line: ``aiflow demo | run | graph | plan | serve | cluster | submit | bench | view | train`` and more.

Knows flags and exit codes. Results go to stdout, progress to stderr.
Exit codes: 0 done, 1 the system failed, 2 the input was wrong, 130 Ctrl-C.
"""

import errno
import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from aiflow.cli_batch import batch
from aiflow.cli_bench import Json, Seed, bench
from aiflow.cli_cluster import add_clusters
from aiflow.cli_diffusion import add_training, demo
from aiflow.cli_familial import familial
from aiflow.cli_plan import plan
from aiflow.cli_serve import Traces, mcp, serve
from aiflow.cli_suites import suites
from aiflow.cli_tofc import tofc
from aiflow.cli_top import top
from aiflow.errors import AiflowError, UsageError

GraphOption = Annotated[
    str, typer.Option("--graph", help="'home' or FILE.py:NAME of a graph, or of a function of the cluster.")
]
TopologyOption = Annotated[str, typer.Option(help="A topology file; 'home' is the one that ships.")]

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
train = typer.Typer(no_args_is_help=True, help="Train the models that ship.")
bench.add_typer(suites)
add_training(train)
add_clusters(app)
app.add_typer(demo, name="demo")
app.add_typer(bench, name="bench")
app.add_typer(train, name="train")
app.add_typer(familial, name="familial")
app.add_typer(tofc, name="tofc")
app.command("plan")(plan)
app.command("batch")(batch)
app.add_typer(serve, name="serve")
app.command("mcp")(mcp)
app.command("top")(top)


@app.command()
def run(
    question: str,
    image: Annotated[list[Path] | None, typer.Option(help="Picture files to ask about.")] = None,
    graph: GraphOption = "home",
    topology: TopologyOption = "home",
    trace: Annotated[bool, typer.Option(help="Show each step: who, how long, how many bytes.")] = False,
    traces: Traces = None,
) -> None:
    """Ask one question of a graph of agents."""
    from aiflow import running, tracing

    if traces:
        tracing.start(traces)
    running.ask(question, images=image or [], graph=graph, topology=topology, trace=trace)


@app.command()
def graph(graph: GraphOption = "home", topology: TopologyOption = "home") -> None:
    """Draw a graph of agents as Mermaid text."""
    from aiflow import running

    running.draw(graph=graph, topology=topology)


@app.command()
def view(
    run: Annotated[Path, typer.Argument(help="Folder of a benchmark's run, finished or not.")],
    out: Annotated[Path | None, typer.Option(help="Write the page here (default: into the folder).")] = None,
) -> None:
    """Make the report of a benchmark's run: one self-contained HTML page, with a page for every question."""
    from aiflow.bench import report

    report.main_view(run, out)


@app.command()
def compare(
    a: Annotated[Path, typer.Argument(help="Folder of a run.")],
    b: Annotated[Path, typer.Argument(help="Folder of another run on the same questions.")],
    out: Annotated[Path | None, typer.Option(help="Write both runs side by side as an HTML page here.")] = None,
    json: Json = False,
) -> None:
    """Compare two runs question by question: paired differences, wins and losses, costs."""
    from aiflow.bench import report

    report.main_compare(a, b, json=json, out=out)


@app.command()
def export(
    run: Annotated[Path, typer.Argument(help="Folder of a benchmark's run.")],
    to: Annotated[str, typer.Option(help="fastchat, alpaca_eval, arena-hard[-v0.1|-v2], lm-eval or inspect[-json].")],
    out: Annotated[Path | None, typer.Option(help="Folder for the files (default: RUN-FORMAT).")] = None,
    force: Annotated[bool, typer.Option("--force", help="Also into a folder that is not empty.")] = False,
) -> None:
    """Write a run in the files of another tool, so that its judges, leaderboards and viewers work on it."""
    from aiflow.bench import exports

    exports.main(run, to, out, force=force)


@train.command("nano")
def train_nano(
    out: Annotated[Path, typer.Option(help="Folder for the weights.")] = Path("runs/nano/weights"),
    seed: Seed = 0,
    only: Annotated[list[str] | None, typer.Option(help="Train only these members, e.g. --only math.")] = None,
    resume: Annotated[bool, typer.Option(help="Continue from checkpoints.")] = True,
) -> None:
    """Train the embedded family on procedural data: at most 90 minutes on 2 cores."""
    from aiflow.nano.train import train

    train(out, seed=seed, only=only, resume=resume)


@train.command("family")
def train_family(
    out: Annotated[Path, typer.Option(help="Folder for the weights.")] = Path("runs/nano/weights"),
    seed: Seed = 0,
    only: Annotated[list[str] | None, typer.Option(help="Train only these stages, e.g. --only hpcd.")] = None,
    resume: Annotated[bool, typer.Option(help="Continue from checkpoints.")] = True,
) -> None:
    """Train the vision family and the low-rank family, from the nano base on: at most 90 minutes each on 2 cores."""
    from aiflow.nano.train import train

    train(out, group="family", seed=seed, only=only, resume=resume)


@train.command("drafter")
def train_drafter(
    out: Annotated[Path, typer.Option(help="Folder of the weights, with the family in it.")] = Path(
        "runs/nano/weights"
    ),
    seed: Seed = 0,
    resume: Annotated[bool, typer.Option(help="Continue from checkpoints.")] = True,
) -> None:
    """Train the vision family's drafter, which lets its full model read ahead: some 20 minutes on one core."""
    from aiflow.nano.train import train

    train(out, group="drafter", seed=seed, resume=resume)


@train.command("tofc")
def train_tofc(
    out: Annotated[Path, typer.Option(help="Folder of the weights, with the family in it.")] = Path(
        "runs/nano/weights"
    ),
    seed: Seed = 0,
    resume: Annotated[bool, typer.Option(help="Continue from checkpoints.")] = True,
) -> None:
    """Train the vision family's feature codec, which sends pictures as few small features: 90 minutes on one core."""
    from aiflow.nano.train import train

    train(out, group="tofc", seed=seed, resume=resume)


def main() -> None:
    """Entry point of the ``aiflow`` command."""
    sys.exit(_main())


def _main() -> int:
    try:
        result: Any = app(standalone_mode=False)
    except UsageError as error:
        return _fail(str(error), 2)
    except AiflowError as error:
        return _fail(str(error), 1)
    except typer.Abort:
        return 130
    except KeyboardInterrupt:
        return _fail("interrupted", 130)
    except BrokenPipeError:  # `aiflow ... | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        if error.filename is None and error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS):
            raise
        return _fail(f"{error.filename or 'a file'}: {error.strerror}; check the path, its rights and free space.", 1)
    except Exception as error:
        show = getattr(error, "show", None)
        if show is None:
            raise
        show()
        return int(getattr(error, "exit_code", 2))
    return result if isinstance(result, int) else 0


def _fail(message: str, code: int) -> int:
    print(f"aiflow: {message}", file=sys.stderr)
    return code
