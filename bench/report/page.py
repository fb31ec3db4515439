"""Fills ``report.html`` by Jinja with autoescaping; what is computed beside it is only what a template cannot say."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from aiflow.bench.log import replace
from aiflow.bench.report import charts
from aiflow.bench.report.drawings import draw, heat, kind
from aiflow.bench.report.material import Material, counts, folder_of, of_folder, of_memory
from aiflow.bench.report.pack import pack
from aiflow.bench.results import Results
from aiflow.bench.suite import Record, Suite
from aiflow.bench.table import interval, number, signed
from aiflow.units import show_bytes

HERE = Path(__file__).parent
PAIR = 2  # longer lists, e.g. one figure per question, are no cell of a table
SCRIPTS = ("data.js", "list.js", "question.js", "report.js")


def render(results: Results, suite: Suite, records: Mapping[str, Sequence[Record]], shown: Sequence[str] = ()) -> str:
    """The whole page as text; ``shown``: the collaborations that the pages of questions open with (none given: all)."""
    return page(of_memory(results, suite, records, shown))


def view(run: Path, out: Path | None = None) -> Path:
    """Writes the page of a logged run, whatever its state, to ``out`` (``report.html`` in it if None).

    Raises DataError where ``run`` holds no log, or a malformed one.
    """
    out = out or folder_of(run) / "report.html"
    text = page(of_folder(run))
    out.parent.mkdir(parents=True, exist_ok=True)
    replace(out, text)
    return out


def main_view(run: Path, out: Path | None = None) -> Path:
    """``aiflow view``: as ``view``, and prints where the page is."""
    path = view(run, out)
    print(path)
    return path


def page(material: Material) -> str:
    """The page as text."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters |= {"bytes": show_bytes, "kind": kind, "figure": _figure}
    environment.globals |= {"interval": interval, "signed": signed, "number": number, "whisker": charts.whisker}
    rows = list(zip(material.results.rows, counts(material), strict=True))
    return environment.get_template("report.html").render(
        r=material.results,
        m=material,
        groups=_groups(rows),
        columns=_columns(rows),
        style=Markup((HERE / "report.css").read_text(encoding="utf-8")),
        script=Markup("".join((HERE / name).read_text(encoding="utf-8") for name in SCRIPTS)),
        charts=draw(material.results) if rows else {},
        categories=material.categories,
        heat=heat(material),
        figures=_figures(material.results.models),
        packed=pack(material),
    )


def _groups(rows: Sequence[Any]) -> list[tuple[str, list[Any]]]:
    """The rows with their counts by group, in order."""
    found: list[tuple[str, list[Any]]] = []
    for row, count in rows:
        if not found or found[-1][0] != row.group:
            found.append((row.group, []))
        found[-1][1].append((row, count))
    return found


def _columns(rows: Sequence[Any]) -> dict[str, bool]:
    """Which columns any row fills."""
    costs = {name: any(getattr(row, name) is not None for row, _ in rows) for name in ("latency", "bytes", "tokens")}
    return costs | {"unparsed": any(count.unparsed for _, count in rows)}


def _figures(models: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Published figures as a table: its columns, and a line of cells per model; nested figures are spread out."""
    flat = {name: _flat(figures) for name, figures in models.items()}
    heads = list(dict.fromkeys(head for figures in flat.values() for head in figures))
    return {"heads": heads, "lines": [(name, [figures.get(head) for head in heads]) for name, figures in flat.items()]}


def _flat(figures: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, part in figures.items():
        if isinstance(part, Mapping):
            found |= _flat(part, f"{before}{name} · ")
        elif not isinstance(part, list) or len(part) <= PAIR:
            found[f"{before}{name}"] = part
    return found


def _figure(value: Any) -> str:
    """A published figure as text, with at most four digits behind the point."""
    if isinstance(value, float):
        return f"{value:.4f}".rstrip("0").rstrip(".")
    if isinstance(value, list):
        return f"[{', '.join(map(_figure, value))}]"
    return "" if value is None else str(value)
