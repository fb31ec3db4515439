"""How fast a report opens in Chromium: until its first table and its list of questions are drawn.

``python -m aiflow.bench.report.opening RUN`` (a run's folder, or a page). Each repeat is a fresh browser, so nothing is
cached but the file. Wall clock includes what else the machine does; CPU seconds are the page's own process.
"""

import json
import statistics
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from aiflow.bench.report.browser import Browser
from aiflow.bench.report.page import view

OPENED = """document.querySelector('#table table') && document.querySelectorAll('#list .row').length > 0
 && Number(document.documentElement.dataset.opened)"""


@dataclass(frozen=True, kw_only=True)
class Opening:
    """One opening, in seconds: by the wall clock from the command to the drawn list, by the page's own clock, CPU."""

    wall: float
    page: float
    cpu: float


def opening(page: Path) -> Opening:
    """Opens a page in a fresh browser. Raises UsageError without Chromium, TimeoutError if nothing shows."""
    with Browser() as browser:
        start = time.perf_counter()
        browser.open(page)
        shown = browser.until(OPENED)
        wall = time.perf_counter() - start
        metrics = {found["name"]: found["value"] for found in browser.send("Performance.getMetrics")["metrics"]}
    return Opening(wall=wall, page=shown / 1000, cpu=metrics["ProcessTime"])


def measure(run: Path, repeats: int = 5) -> dict[str, object]:
    """Medians over ``repeats`` openings of the page of a run, and how long it took to write it."""
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        page = run if run.suffix == ".html" else view(run, Path(folder) / "report.html")
        written = time.perf_counter() - start
        found = [opening(page) for _ in range(repeats)]
        size = page.stat().st_size
    medians = {name: round(statistics.median(asdict(one)[name] for one in found), 3) for name in asdict(found[0])}
    slowest = round(max(one.wall for one in found), 3)
    return {**medians, "slowest": slowest, "repeats": repeats, "bytes": size, "written": round(written, 3)}


if __name__ == "__main__":
    print(json.dumps(measure(Path(sys.argv[1]))))
