"""What produced a result: versions, commit, machine, time. Goes into every log, report and JSON line."""

import os
import platform
import subprocess
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

PACKAGES = ("aiflow", "ray", "torch", "transformers", "langgraph", "numpy")


def provenance() -> dict[str, Any]:
    """``{time, versions, commit, machine}``; ``commit`` is None outside a checkout, and ends in ``+`` when edited."""
    return {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": {"python": platform.python_version()} | {name: _version(name) for name in PACKAGES},
        "commit": commit(),
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
    }


def commit() -> str | None:
    """The short hash of aiflow's own checkout; None where this file lies elsewhere, e.g. in site-packages."""
    here = Path(__file__).resolve().parent
    if _git(here, "rev-parse", "--show-toplevel") != str(here.parent):
        return None
    known = _git(here, "rev-parse", "--short=12", "HEAD")
    return f"{known}{'+' if _git(here, 'status', '--porcelain', '-uno') else ''}" if known else None


def _git(folder: Path, *words: str) -> str:
    try:
        done = subprocess.run(("git", "-C", str(folder), *words), capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
