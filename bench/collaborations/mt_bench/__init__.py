"""``aiflow bench mt-bench``: MT-Bench's 80 real questions, recorded answers of real models, recorded GPT-4 judgments.

The recorded models are agents of a deployment; the ordinary device-server graph selects and merges; no model runs.
"""

import time
from pathlib import Path
from typing import TYPE_CHECKING

from aiflow import aio
from aiflow.bench.log import RunLog
from aiflow.bench.provenance import provenance

if TYPE_CHECKING:
    from aiflow.bench.outcome import Outcome
    from aiflow.bench.suites.mt_bench.data import Recorded


def main(
    *,
    data: Path | None = None,
    limit: int | None = None,
    seed: int = 0,
    out: Path = Path("runs"),
    report: Path | None = None,
    json: bool = False,
) -> "Outcome":
    """Runs the recorded suite, prints the table, writes log and report into a new folder under ``out``.

    ``data`` is the folder of recorded files (``$AIFLOW_DATA/mt_bench`` if None), ``limit`` the number of questions,
    taken evenly from the categories. Raises DataError where a file is missing or malformed.
    """
    from aiflow.bench.suites.mt_bench.data import default_folder, find, load

    folder = find(data or default_folder())
    outcome = run_mt_bench(load(folder), folder, limit, seed, out=out)
    outcome.show(json=json, report=report)
    return outcome


def run_mt_bench(
    recorded: "Recorded", data: Path, limit: int | None = None, seed: int = 0, *, out: Path, quiet: bool = False
) -> "Outcome":
    """The records of every model alone and of every collaboration, tabulated.

    Expectations always come from all questions but the one asked, also when ``limit`` asks fewer.
    """
    from aiflow.bench.collaborations.mt_bench.graded import mt_bench_suite
    from aiflow.bench.collaborations.mt_bench.measure import measure
    from aiflow.bench.collaborations.mt_bench.tabulate import tabulate
    from aiflow.bench.collaborations.mt_bench.team import HEADLINE
    from aiflow.bench.outcome import Outcome

    suite, start = mt_bench_suite(recorded, limit), time.perf_counter()
    produced = provenance() | {
        "seed": seed,
        "questions": len(suite.samples),
        "data": str(data),
        "models": list(recorded.models),
        "topology": "home, in one process",
    }
    with RunLog.create(out, "mt-bench", produced) as log:
        log.ask(suite.samples)
        records = aio.run(measure(suite, recorded, data, log=log, quiet=quiet))
        produced["seconds"] = round(time.perf_counter() - start, 1)
        results = tabulate(recorded, suite, records, seed, produced)
        shown = [name for name in records if name.endswith(f": {HEADLINE}")]
        outcome = Outcome(results=results, suite=suite, records=records, folder=log.folder, shown=shown)
        log.finish(outcome.json())
        outcome.write_report()
    return outcome


__all__ = ["main", "run_mt_bench"]
