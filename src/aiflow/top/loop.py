"""Fetches frames and shows them, once or until Ctrl-C. A source that does not answer is shown as that."""

import json as jsonlib
import time
from dataclasses import replace
from typing import Protocol

from rich.console import Console
from rich.live import Live
from rich.text import Text

from aiflow.errors import ClusterError
from aiflow.top.frame import Frame
from aiflow.top.show import draw


class Source(Protocol):
    """Where frames come from."""

    name: str

    def frame(self) -> Frame:
        """How it is now. Raises ClusterError if it does not say."""

    def close(self) -> None:
        """Ends what it keeps."""


def watch(source: Source, *, interval: float, once: bool, json: bool) -> None:
    """Shows ``source`` every ``interval`` seconds. ``once``, or where nobody watches: one frame, or what it raises."""
    console = Console()
    try:
        if json:
            _lines(source, interval, once)
        elif once or not console.is_terminal:
            first = source.frame()
            time.sleep(min(interval, 1.0))
            Console(width=max(console.width, 120)).print(draw(source.frame().after(first)))
        else:
            _live(source, interval, console)
    finally:
        source.close()


def _lines(source: Source, interval: float, once: bool) -> None:
    before: Frame | None = None
    while True:
        before = source.frame().after(before)
        print(jsonlib.dumps(before.data()), flush=True)
        if once:
            return
        time.sleep(interval)


def _live(source: Source, interval: float, console: Console) -> None:
    before, heard = None, time.monotonic()
    with Live(Text(f"{source.name} ..."), console=console, screen=True, auto_refresh=False) as live:
        while True:
            try:
                before = source.frame().after(before)
                heard = time.monotonic()
                live.update(draw(before), refresh=True)
            except ClusterError as error:
                silent = f"for {time.monotonic() - heard:.0f} s: {error}"
                known = before or Frame(source=source.name, moment=heard)
                live.update(draw(replace(known, note=silent)), refresh=True)
            time.sleep(interval)
