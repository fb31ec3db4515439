"""``python -m aiflow.bench.serving``: serves until it is told to end, or its parent has ended."""

import argparse
import os
import signal
import threading
import time
from pathlib import Path

from aiflow.bench.serving import MODELS
from aiflow.bench.serving.app import serve

_WATCH_SECONDS = 0.1


def main() -> None:
    """Reads the arguments and serves."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="0: a free one")
    parser.add_argument("--log", type=Path, required=True, help="a file of JSON lines, appended to")
    parser.add_argument(
        "--model", action="append", help="NAME=MODEL, or MODEL without 'aiflow:' as its name; repeatable"
    )
    parser.add_argument("--choice", action="append", help="NAME=TEXT: that model says its likeliest text; repeatable")
    parser.add_argument("--delay", type=float, default=0.0, help="seconds before each answer")
    parser.add_argument("--keep", type=int, help="characters of a talk's end that are read, as by servers that cut")
    parser.add_argument(
        "--parent", type=int, default=os.getppid(), help="the process to end with (default: the starter)"
    )
    given = parser.parse_args()
    threading.Thread(target=_end_with, args=(given.parent,), daemon=True).start()
    choices: dict[str, list[str]] = {}
    for name, _, text in (choice.partition("=") for choice in given.choice or ()):
        choices.setdefault(name, []).append(text)
    serve(given.port, given.log, given.model or list(MODELS), given.delay, choices=choices, keep=given.keep)


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_WATCH_SECONDS)
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    main()
