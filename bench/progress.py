"""Shows on stderr how far a run is: a bar on a terminal, a plain line every few seconds elsewhere."""

import sys
import time
from typing import Any, Self

from aiflow.bench.suite import Record

EVERY = 5.0


class Progress:
    """Rate, running score, errors and time left of one phase. Use as a context manager; feed records to ``advance``."""

    def __init__(self, title: str, total: int, *, unit: str = "%", quiet: bool = False) -> None:
        self.title, self.total, self.unit, self.quiet = title, total, unit, quiet
        self.done, self.errors, self.graded, self.score = 0, 0, 0, 0.0
        self._start = self._shown = time.perf_counter()
        self._bar = None if quiet or not sys.stderr.isatty() else _bar()

    def __enter__(self) -> Self:
        self._start = self._shown = time.perf_counter()
        if self._bar:
            self._bar.start()
            self._bar.add_task(self.title, total=self.total, told="")
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        if self._bar:
            self._bar.stop()
        elif kind is None:
            self._line()

    def advance(self, record: Record) -> None:
        """Counts one conversation."""
        self.done += 1
        self.errors += any(t.error for t in record.turns)
        if (score := record.score) is not None:
            self.graded, self.score = self.graded + 1, self.score + score
        if self._bar:
            self._bar.update(self._bar.task_ids[0], advance=1, told=self.told)
        elif time.perf_counter() - self._shown >= EVERY:
            self._line()

    @property
    def told(self) -> str:
        """E.g. ``12.3/s · score 81.2 % · 0 errors``."""
        seconds = max(time.perf_counter() - self._start, 1e-9)
        errors = f"{self.errors} error{'' if self.errors == 1 else 's'}"
        return f"{self.done / seconds:.1f}/s · score {self.score / max(self.graded, 1):.1f} {self.unit} · {errors}"

    def _line(self) -> None:
        self._shown = time.perf_counter()
        if not self.quiet:
            left = (self._shown - self._start) / max(self.done, 1) * (self.total - self.done)
            print(f"{self.title}: {self.done}/{self.total} · {self.told} · {left:.0f} s left", file=sys.stderr)


def _bar() -> Any:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = (TextColumn("{task.description:<28}"), BarColumn(None), MofNCompleteColumn())
    told = TextColumn("{task.fields[told]}")
    return Bar(*columns, told, TimeRemainingColumn(), console=Console(stderr=True))
