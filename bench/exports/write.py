"""Writes an export to disk: a new folder whole or not at all; into one that holds files, file by file."""

import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

from aiflow.bench.exports import alpaca_eval, arena_hard, fastchat, inspect, lm_eval
from aiflow.bench.exports.run import Files, Run, load
from aiflow.errors import UsageError, suggest

FORMATS: Mapping[str, Callable[[Run], Files]] = {
    "fastchat": fastchat.export,
    "alpaca_eval": alpaca_eval.export,
    "arena-hard": arena_hard.export,
    "arena-hard-v0.1": arena_hard.export_v01,
    "arena-hard-v2": arena_hard.export_v2,
    "lm-eval": lm_eval.export,
    "inspect": inspect.export,
    "inspect-json": inspect.export_json,
}
"""Name -> what makes the files of a run."""


def export(run: Path, to: str, out: Path, *, force: bool = False) -> list[Path]:
    """Writes a run's folder in another tool's form into ``out``; returns the files, in the order of their names.

    ``force`` writes into a folder that holds files: those of the same name are replaced, the others stay.
    Raises UsageError for an unknown format, a run that does not fit it (the message says what does), and a folder that
    is not empty; DataError for a run that cannot be read.
    """
    if to not in FORMATS:
        raise UsageError(f"format {to!r} is unknown; {suggest(to, list(FORMATS))}")
    if out.exists() and not out.is_dir():
        raise UsageError(f"{out} is a file; give a folder with --out.")
    if not force and out.is_dir() and any(out.iterdir()):
        raise UsageError(f"{out} is not empty; give another with --out, or write into it with --force.")
    files = FORMATS[to](load(run))
    _write(out.resolve(), files)
    return [out / name for name in sorted(files)]


def _write(out: Path, files: Mapping[str, bytes]) -> None:
    out.parent.mkdir(parents=True, exist_ok=True)
    spare = out.with_name(f".{out.name}.{os.getpid()}")
    try:
        for name, data in files.items():
            path = spare / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        if not out.is_dir() or not any(out.iterdir()):
            os.replace(spare, out)
            return
        for name in files:
            (out / name).parent.mkdir(parents=True, exist_ok=True)
            os.replace(spare / name, out / name)
    finally:
        shutil.rmtree(spare, ignore_errors=True)
