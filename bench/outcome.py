"""What a finished benchmark hands over: the results with all records, shown, as JSON, and as a report on disk."""

import json as jsonlib
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from shutil import copyfile
from typing import Any

from aiflow.bench.results import Results
from aiflow.bench.suite import Record, Suite
from aiflow.bench.views import as_json


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """Results, the suite they are of, the records behind them, and the folder of the log.

    ``shown``: the subjects whose exchanges the report tells question by question (none given: all).
    """

    results: Results
    suite: Suite
    records: Mapping[str, Sequence[Record]]
    folder: Path
    shown: Sequence[str] = ()

    @property
    def report(self) -> Path:
        """Where ``write_report`` puts the page."""
        return self.folder / "report.html"

    def json(self) -> dict[str, Any]:
        """The results as the one JSON object that ``--json`` prints."""
        return as_json(self.results)

    def show(self, *, json: bool = False, report: Path | None = None, plots: Path | None = None) -> None:
        """Prints the tables, and with ``json`` the JSON line last, on stdout; the tables then go to stderr.

        ``report`` receives a copy of the page, the folder ``plots`` a figure.
        """
        from rich.console import Console

        from aiflow.bench.table import show

        console = Console(stderr=json)
        if not console.is_terminal:
            console.width = max(console.width, 120)
        show(self.results, console)
        if plots:
            from aiflow.bench.plots import plot

            print(f"figure: {plot(self.results, plots)}", file=sys.stderr)
        if report:
            report.parent.mkdir(parents=True, exist_ok=True)
            copyfile(self.report, report)
        print(f"report: {report or self.report}", file=sys.stderr)
        if json:
            print(jsonlib.dumps(self.json(), allow_nan=False))

    def write_report(self) -> Path:
        """Writes the self-contained HTML page and returns its path."""
        from aiflow.bench.report import render

        self.report.write_text(render(self.results, self.suite, self.records, self.shown), encoding="utf-8")
        return self.report
