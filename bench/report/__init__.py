"""The run as one self-contained HTML page: tables, charts, and what happened at every question. No network, no CDN.

Fills ``report.html`` by Jinja with autoescaping; what is computed beside it is only what a template cannot say.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import jinja2
from markupsafe import Markup

from aiflow.bench.report import charts
from aiflow.bench.report.drawings import categories_of, draw, heat, kind
from aiflow.bench.report.pages import pages
from aiflow.bench.results import Results
from aiflow.bench.suite import Record, Suite
from aiflow.bench.table import interval, signed
from aiflow.units import show_bytes

HERE = Path(__file__).parent


def render(results: Results, suite: Suite, records: Mapping[str, Sequence[Record]], shown: Sequence[str] = ()) -> str:
    """The whole page as text; ``shown``: the collaborations that the pages of questions tell of (none given: all)."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters |= {"bytes": show_bytes, "kind": kind}
    environment.globals |= {"interval": interval, "signed": signed, "whisker": charts.whisker}
    return environment.get_template("report.html").render(
        r=results,
        style=Markup((HERE / "report.css").read_text(encoding="utf-8")),
        script=Markup((HERE / "report.js").read_text(encoding="utf-8")),
        charts=draw(results),
        categories=categories_of(suite),
        heat=heat(suite, records),
        pages=list(pages(results, suite, records, shown)),
    )
