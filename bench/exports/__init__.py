"""``aiflow export``: a run in the files of FastChat, AlpacaEval, Arena-Hard, lm-evaluation-harness or Inspect.

Each format is a pure function from a run to {path: bytes}; ids are hashes and times the run's, so the same run gives
the same bytes. Nothing here asks or judges.
"""

import sys
from pathlib import Path

from aiflow.bench.exports.run import Run, load
from aiflow.bench.exports.write import FORMATS, export


def main(run: Path, to: str, out: Path | None = None, force: bool = False) -> list[Path]:
    """Writes the export, into ``<run>-<to>`` beside the run unless ``out`` is given, and prints its files.

    Raises UsageError and DataError.
    """
    folder = out or run.resolve().with_name(f"{run.resolve().name}-{to}")
    written = export(run, to, folder, force=force)
    for path in written:
        print(path)
    print(f"{len(written)} files for {to} in {folder}", file=sys.stderr)
    return written


__all__ = ["FORMATS", "Run", "export", "load", "main"]
