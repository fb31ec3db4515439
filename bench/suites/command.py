"""One way to run any suite: score recorded answers, or ask agents. Knows the suites by the names of their folders."""

import json as jsonlib
import sys
from collections.abc import Mapping
from dataclasses import replace
from importlib import import_module
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aiflow.errors import DataError, InputError, UsageError

if TYPE_CHECKING:
    from aiflow.bench.judges.judge import Judge
    from aiflow.bench.live import Live
    from aiflow.bench.outcome import Outcome
    from aiflow.bench.suite import Suite

SUITES = {
    "mt-bench": "mt_bench",
    "alpaca-eval": "alpaca_eval",
    "arena-hard": "arena_hard",
    "vqa": "vqa",
    "maths": "maths",
    "cot": "cot",
}
GROUPS = ("vqa", "maths")
"""Folders that hold several suites, of which one is named."""


def recorded(name: str, *, which: str | None, data: Path | None, json: bool) -> dict[str, Any]:
    """Scores recorded answers or judgments, and prints a table and with ``json`` one JSON object as the last line."""
    from aiflow.bench.plain import plain
    from aiflow.bench.provenance import provenance

    found = _module(name).recorded(*_which(name, which), data)
    found = plain({**found, "data": None if data is None else str(data), **provenance()})
    _show(found, stderr=json)
    if json:
        print(jsonlib.dumps(found, allow_nan=False))
    return dict(found)


def kept(
    name: str,
    *,
    which: str | None = None,
    data: Path | None = None,
    limit: int | None = None,
    out: Path = Path("runs"),
    report: Path | None = None,
    json: bool = False,
) -> None:
    """The recorded models as subjects of a run, which ``aiflow view``, ``compare`` and ``export`` then know."""
    from aiflow.bench.live import Live, run_live

    module, named = _module(name), _which(name, which)
    said = module.answers(*named, data)
    if not said:
        raise DataError(f"{name}: there are no recorded answers; leave --log out, or name agents with --model.")
    print(f"subjects: {len(said)} models whose answers were recorded: {', '.join(said)}", file=sys.stderr)
    how = {"images": False} if "images" in signature(module.suite).parameters else {}

    def make(judge: "Judge | None") -> "Suite":
        return limited(module.suite(*named, data, judge, **how), limit)

    run_live("-".join((name, *named)).lower(), make, Live(recorded=said, out=out)).show(json=json, report=report)


def live(
    name: str,
    live: "Live",
    *,
    which: str | None = None,
    variant: str | None = None,
    baseline: str | None = None,
    data: Path | None = None,
    limit: int | None = None,
    report: Path | None = None,
    plots: Path | None = None,
    json: bool = False,
) -> None:
    """Asks the agents of ``live``; ``limit`` questions, taken from the categories in turn. Prints tables and JSON."""
    outcome = _ask(name, live, _which(name, which), data, limit, {"variant": variant, "baseline": baseline})
    outcome.show(json=json, report=report, plots=plots)


def asked(suite: str, live: "Live", *, data: Path | None, limit: int | None = None) -> "Outcome":
    """One suite by its own name (``mt-bench``, or one of a group such as ``MME``), asked and tabulated.

    ``data``: the folder that holds a folder or a file for each suite.
    """
    if suite in SUITES and suite not in GROUPS:
        return _ask(suite, live, (), data, limit, {})
    from aiflow.bench.suites import maths

    group = "maths" if (suite := maths.spelled(suite)) in maths.NAMES else "vqa"
    return _ask(group, live, (suite,), data, limit, {})


def _ask(
    name: str, live: "Live", named: tuple[str, ...], data: Path | None, limit: int | None, how: Mapping[str, Any]
) -> "Outcome":
    from aiflow.bench.live import run_live

    module = _module(name)
    given = {option: value for option, value in how.items() if value is not None}
    for option in given:
        if option not in signature(module.suite).parameters:
            raise UsageError(f"--{option}: {name} has none; leave it out.")

    def make(judge: "Judge | None") -> "Suite":
        return limited(module.suite(*named, data, judge, **given), limit)

    return run_live("-".join((name, *named)).lower(), make, live)


def limited(suite: "Suite", limit: int | None) -> "Suite":
    """The suite with its first ``limit`` questions, evenly from its categories; groups stay whole."""
    from aiflow.bench.suite import Sample, spread

    if limit is None:
        return suite
    if limit < 1:
        raise InputError(f"a suite of {limit} questions says nothing; ask for 1 or more.")
    groups: dict[tuple[str, str], list[Sample]] = {}
    for sample in spread(suite.samples):
        groups.setdefault((sample.category, sample.group or f"sample {sample.id}"), []).append(sample)
    taken: list[Sample] = []
    for group in groups.values():
        if len(taken) >= limit:
            break
        taken += group
    return replace(suite, samples=taken)


def _module(name: str) -> Any:
    return import_module(f"aiflow.bench.suites.{SUITES[name]}")


def _which(name: str, which: str | None) -> tuple[str, ...]:
    if name in GROUPS and not which:
        raise UsageError(f"{name} holds several suites; name one with --suite.")
    if name not in GROUPS and which:
        raise UsageError(f"--suite {which!r}: {name} is one suite; leave --suite out.")
    if name == "maths" and which:
        from aiflow.bench.suites import maths

        which = maths.spelled(which)
    return (which,) if which else ()


def _show(found: Mapping[str, Any], *, stderr: bool) -> None:
    """A line per model, a column per figure that most models have; nested figures stand in the JSON only."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    models: Mapping[str, Mapping[str, Any]] = found["models"]
    console = Console(stderr=stderr)
    if not console.is_terminal:
        console.width = max(console.width, 160)
    heads = [n for n, v in next(iter(models.values()), {}).items() if isinstance(v, int | float)][:9]
    table = Table(title=f"{found['suite']}, recorded", title_justify="left", box=SIMPLE_HEAD, header_style="bold")
    table.add_column("model", no_wrap=True)
    for head in heads:
        table.add_column(escape(head.replace("_", " ")), justify="right")
    for name, figures in models.items():
        table.add_row(escape(name), *(_cell(figures.get(head)) for head in heads))
    console.print(table)
    for note in found.get("notes", ()):
        print(f"· {note}", file=sys.stderr)


def _cell(value: Any) -> str:
    if value is None:
        return "–"
    return f"{value:.4f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)
