"""``aiflow bench nano`` and ``aiflow demo``: the device-server collaboration on the models that ship.

Every row stands beside each device alone, the best of them, Self-MoA and the oracle (DESIGN rule 9).
"""

import time
from pathlib import Path
from typing import TYPE_CHECKING

from aiflow import aio
from aiflow.bench.log import RunLog
from aiflow.bench.provenance import provenance
from aiflow.errors import UsageError, suggest

if TYPE_CHECKING:
    from aiflow.bench.nano.team import Team
    from aiflow.bench.outcome import Outcome
    from aiflow.bench.suite import Suite


def main(
    *,
    limit: int | None = None,
    seed: int | None = None,
    quick: bool = False,
    merge: str = "rank",
    topology: Path | None = None,
    out: Path = Path("runs"),
    report: Path | None = None,
    plots: Path | None = None,
    json: bool = False,
) -> "Outcome":
    """Runs the suite on the embedded models, prints the tables, writes log and report into a new folder under ``out``.

    ``limit`` is the number of questions, ``seed`` theirs and that of all draws (None: the published suite's); ``quick``
    leaves out curve and ablation; ``merge`` is how the server merges (a small one picks well and copies badly, so it
    ranks by default); ``report`` is where to put another copy of the page, ``plots`` a folder for a figure
    of the curve. With ``json`` the last line on stdout is the result as JSON, and the tables go to stderr.
    Raises UsageError and ClusterError.
    """
    from aiflow.bench.nano.suite import nano_suite
    from aiflow.bench.nano.team import embedded
    from aiflow.graphs.blocks.merge import HOWS
    from aiflow.nano.questions import SEED, SUITE_SIZE

    if merge not in HOWS:  # before anything is started for it
        raise UsageError(f"merge={merge!r} is unknown; {suggest(merge, list(HOWS))}")
    seed = SEED if seed is None else seed
    suite = nano_suite(SUITE_SIZE if limit is None else limit, seed)
    with embedded(topology) as team:
        outcome = aio.run(run_nano(team, suite, seed, curve=not quick, merge=merge, out=out))
    outcome.show(json=json, report=report, plots=plots)
    return outcome


def demo(*, questions: int = 64, report: Path | None = None, out: Path = Path("runs"), json: bool = False) -> "Outcome":
    """The main job: alone, in collaboration and by Self-MoA; prints the table and writes the report."""
    return main(limit=questions, quick=True, report=report, out=out, json=json)


async def run_nano(
    team: "Team",
    suite: "Suite",
    seed: int = 0,
    *,
    curve: bool = True,
    merge: str = "synthesis",
    out: Path,
    parallel: int = 32,
    quiet: bool = False,
) -> "Outcome":
    """Runs ``suite`` on ``team`` and returns what it found, with log and report in a new folder under ``out``."""
    from aiflow.bench.nano.phases import Run
    from aiflow.bench.nano.tabulate import tabulate
    from aiflow.bench.outcome import Outcome

    start = time.perf_counter()
    produced = provenance() | {
        "seed": seed,
        "questions": len(suite.samples),
        "models": dict(team.models),
        "topology": team.topology,
        "parallel": parallel,
        "merge": merge,
    }
    with RunLog.create(out, "nano", produced) as log:
        log.ask(suite.samples)
        run = Run(suite, team, seed=seed, merge=merge, parallel=parallel, quiet=quiet, log=log)
        for phase in (run.alone, run.together, run.self_moa, run.latency, *([run.fewer] if curve else [])):
            await phase()
        produced["seconds"] = round(time.perf_counter() - start, 1)
        outcome = Outcome(results=tabulate(run, seed, produced), suite=suite, records=run.records, folder=log.folder)
        log.finish(outcome.json())
        outcome.write_report()
    return outcome


__all__ = ["demo", "main", "run_nano"]
