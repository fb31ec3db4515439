"""How long a user waits for ``import aiflow`` and for ``aiflow --help``: whole processes, started anew each time."""

import json as jsonlib
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

BARS = {"import_s": 0.3, "help_s": 0.5}


def main(*, repeats: int = 7, json: bool = False) -> None:
    """Prints minimum and median in seconds, beside a bare interpreter's start."""
    aiflow = shutil.which("aiflow", path=str(Path(sys.executable).parent)) or "aiflow"
    commands = {
        "bare_python_s": [sys.executable, "-c", "pass"],
        "import_s": [sys.executable, "-c", "import aiflow"],
        "help_s": [aiflow, "--help"],
    }
    results = {}
    for name, command in commands.items():
        seconds = sorted(_time(command) for _ in range(repeats))
        results[name] = {"min": seconds[0], "median": statistics.median(seconds), "bar": BARS.get(name)}
        bar = f"  (bar {BARS[name]} s)" if name in BARS else ""
        print(f"{name:<14} min {seconds[0]:.3f} s  median {statistics.median(seconds):.3f} s{bar}")
    if json:
        print(jsonlib.dumps({"repeats": repeats, **results}))


def _time(command: list[str]) -> float:
    start = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, timeout=60)
    return time.perf_counter() - start
