"""The report is one file, well-formed, and nothing that a model says becomes markup."""

import re
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pytest

from aiflow.bench.nano import run_nano
from aiflow.bench.nano.team import Team
from aiflow.bench.outcome import Outcome
from aiflow.bench.report.charts import Scale
from aiflow.bench.suite import Suite

EVIL = "<script>alert('x')</script><img src=x onerror=y> \"&amp;"
VOID = {"meta", "link", "input", "br", "img", "line", "circle", "polyline", "rect"}


class Balance(HTMLParser):
    """Checks that tags close in order, and collects external references."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.links: list[str] = []
        self.scripts = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.scripts += tag == "script"
        self.links += [value or "" for name, value in attrs if name in ("src", "href")]
        assert not any(name.startswith("on") for name, _ in attrs)
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag


@pytest.fixture
def page(outcome: Outcome) -> str:
    return outcome.report.read_text()


async def test_answers_are_escaped(team: Team, suite: Suite, tmp_path: Path) -> None:
    say = team.devices[1].say  # type: ignore[attr-defined]
    team.devices[1].say = lambda q, last: EVIL if "joint" in last else say(q, last)  # type: ignore[attr-defined]
    outcome = await run_nano(team, suite, curve=False, out=tmp_path, quiet=True)
    page = outcome.report.read_text()
    assert EVIL not in page
    assert "&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;" in page


def test_it_is_one_well_formed_file(page: str) -> None:
    parser = Balance()
    parser.feed(page)
    assert not parser.open
    assert parser.scripts == 1
    assert all(link.startswith("#") for link in parser.links)
    assert not re.search(r"https?://|@import|url\(", page)


def test_it_tells_every_question(page: str) -> None:
    assert len(re.findall(r'<details class="q"', page)) == 20
    assert 'id="q-q7"' in page
    assert "selected text, islands" in page
    for step in ("select", "answer", "merge", "revise"):
        assert f"<td>{step}</td>" in page
    assert len(page) < 20 * 16_000


def test_the_charts_are_well_formed(page: str) -> None:
    drawn = re.findall(r"<figure>.*?(<svg.*?</svg>)", page)
    assert len(drawn) == 5
    for svg in drawn:
        ElementTree.fromstring(svg)


def test_scales() -> None:
    scale = Scale(0, 100, 0, 10)
    assert (scale(50), scale(200), scale(-1)) == (5.0, 10.0, 0.0)
    assert scale.ticks() == [0.0, 20.0, 40.0, 60.0, 80.0, 100.0]
    assert Scale(3, 3, 0, 10)(3) == 5.0
