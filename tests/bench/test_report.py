"""The report is one file, well-formed, holds all of a run, and nothing that a model says becomes markup."""

import json
import math
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiflow.bench import log
from aiflow.bench.nano import run_nano
from aiflow.bench.nano.team import Team
from aiflow.bench.outcome import Outcome
from aiflow.bench.report import main_view, pack, render, view
from aiflow.bench.report.charts import Point, Scale, pareto
from aiflow.bench.report.material import Counts, counts, of_folder, of_memory
from aiflow.bench.results import Results, Row
from aiflow.bench.stats import Estimate
from aiflow.bench.suite import Judgment, Record, Said, Sample, Suite, Turn, by_rule
from aiflow.bench.views import as_json
from aiflow.errors import DataError

EVIL = "<script>alert('x')</script><img src=x onerror=y> \"&amp;"
VOID = {"meta", "link", "input", "br", "img", "line", "circle", "polyline", "rect"}


class Balance(HTMLParser):
    """Checks that tags close in order, and collects external references and the types of scripts."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.links: list[str] = []
        self.scripts: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "script":
            self.scripts.append(dict(attrs).get("type") or "")
        self.links += [value or "" for name, value in attrs if name in ("src", "href")]
        assert not any(name.startswith("on") for name, _ in attrs)
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag


def data(page: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The index and all samples that a page carries."""
    index = re.search(r'id="index">([^<]*)</script>', page)
    assert index
    chunks = re.findall(r'class="chunk">([^<]*)</script>', page)
    return pack.unpack(index[1]), [sample for chunk in chunks for sample in pack.unpack(chunk)]


def logged(root: Path, records: list[Record], samples: list[Sample], results: dict[str, Any] | None = None) -> Path:
    """A run's folder; without results one that has not ended."""
    run = log.RunLog.create(root, "tiny", {"time": "now", "seed": 3})
    if samples:
        run.ask(samples)
    for record in records:
        run.append(record)
    if results is not None:
        with run:
            run.finish(results)
    return run.folder


def tiny(scores: list[float | None], subject: str = "m") -> tuple[list[Sample], list[Record]]:
    samples = [Sample(id=f"s{n}", category=f"c{n % 2}", turns=(f"what is {n}?",)) for n in range(len(scores))]
    turns = [Turn(text=f"it is {n}", score=score) for n, score in enumerate(scores)]
    return samples, [
        Record(subject=subject, sample=s.id, category=s.category, turns=(turn,))
        for s, turn in zip(samples, turns, strict=True)
    ]


@pytest.fixture
def page(outcome: Outcome) -> str:
    return outcome.report.read_text()


async def test_answers_are_escaped(team: Team, suite: Suite, tmp_path: Path) -> None:
    say = team.devices[1].say  # type: ignore[attr-defined]
    team.devices[1].say = lambda q, last: EVIL if "joint" in last else say(q, last)  # type: ignore[attr-defined]
    outcome = await run_nano(team, suite, curve=False, out=tmp_path, quiet=True)
    page = outcome.report.read_text()
    assert "alert(" not in page
    assert EVIL in json.dumps(data(page)[1], ensure_ascii=False).replace('\\"', '"')


def test_names_are_escaped(tmp_path: Path) -> None:
    samples, records = tiny([1.0, 0.0], EVIL)
    samples = [replace(sample, id=f"{EVIL}{n}", category=EVIL) for n, sample in enumerate(samples)]
    records = [replace(r, sample=s.id, category=EVIL) for r, s in zip(records, samples, strict=True)]
    page = view(logged(tmp_path, records, samples, {"models": {EVIL: {EVIL: EVIL}}, EVIL: EVIL})).read_text()
    assert EVIL not in page
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert(&#39;x&#39;)" in page


def test_it_is_one_well_formed_file(page: str) -> None:
    parser = Balance()
    parser.feed(page)
    assert not parser.open
    assert parser.scripts.count("") == 1
    assert set(parser.scripts) == {"", "application/octet-stream"}
    assert all(link.startswith("#") for link in parser.links)
    assert not re.search(r"https?://|@import|url\(", page)


def test_it_tells_every_question(page: str, outcome: Outcome) -> None:
    index, samples = data(page)
    assert len(index["ids"]) == len(samples) == 20
    names = [subject["name"] for subject in index["subjects"]]
    merged = names.index("merged")
    assert merged == index["lead"]
    turn = samples[7]["answers"][str(merged)][0]
    assert turn["selected"] == ["text", "islands"]
    assert {step["step"] for step in turn["steps"]} == {"select", "answer", "merge", "revise"}
    assert turn["text"] == outcome.records["merged"][7].turns[0].text
    assert index["scores"][merged] == [record.score for record in outcome.records["merged"]]
    assert len(page) < 80_000


def test_the_charts_are_well_formed(page: str) -> None:
    drawn = re.findall(r"<figure>.*?(<svg.*?</svg>)", page)
    assert len(drawn) == 6
    for svg in drawn:
        ElementTree.fromstring(svg)
    assert sum('class="pareto"' in svg for svg in drawn) == 3


def test_scales() -> None:
    scale = Scale(0, 100, 0, 10)
    assert (scale(50), scale(200), scale(-1)) == (5.0, 10.0, 0.0)
    assert scale.ticks() == [0.0, 20.0, 40.0, 60.0, 80.0, 100.0]
    assert Scale(3, 3, 0, 10)(3) == 5.0


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), max_size=12))
def test_the_pareto_line_is_what_none_beats(places: list[tuple[int, int]]) -> None:
    points = [Point(label="p", x=x, y=y) for x, y in places]
    front = {(p.x, p.y) for p in pareto(points)}
    unbeaten = {
        (p.x, p.y) for p in points if not any(o.x <= p.x and o.y >= p.y and (o.x, o.y) != (p.x, p.y) for o in points)
    }
    assert front == unbeaten


def test_a_logged_run_gives_back_its_table(outcome: Outcome, tmp_path: Path) -> None:
    material = of_folder(outcome.folder)
    kept, given = material.results, outcome.results
    assert [(row.name, row.group, row.key, row.errors) for row in kept.rows] == [
        (row.name, row.group, row.key, row.errors) for row in given.rows
    ]
    for row, other in zip(kept.rows, given.rows, strict=True):
        assert row.score.value == pytest.approx(other.score.value, abs=1e-4)
        assert row.links == other.links
    assert len(kept.curve) == len(given.curve) == 5
    assert len(kept.ablation) == len(given.ablation)
    assert list(kept.differences) == list(given.differences)
    assert kept.run["commit"] == given.run["commit"]
    found = data(view(outcome.folder / log.HEADER, tmp_path / "new" / "page.html").read_text())
    whole = data(outcome.report.read_text())
    assert [sample["answers"] for sample in found[1]] == [sample["answers"] for sample in whole[1]]
    assert found[0]["lead"] == whole[0]["lead"]
    assert found[0]["scores"] == whole[0]["scores"]


def test_a_run_that_has_not_ended_is_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    samples, records = tiny([1.0, 0.0, None, 1.0])
    folder = logged(tmp_path, records[:3], samples)
    path = main_view(folder)
    assert capsys.readouterr().out.strip() == str(path) == str(folder / "report.html")
    page = path.read_text()
    assert "This run has not ended" in page
    assert data(page)[0]["scores"] == [[1.0, 0.0, None, "x"]]
    material = of_folder(folder)
    (row,) = material.results.rows
    assert row.score.value == 0.5
    assert (row.bytes, row.tokens, row.latency) == (None, None, None)
    assert counts(material) == [Counts(n=2, unparsed=1)]


def test_a_run_that_has_only_begun_is_shown(tmp_path: Path) -> None:
    page = view(logged(tmp_path, [], tiny([1.0])[0])).read_text()
    assert "no scores yet" in page
    assert data(page)[0]["ids"] == ["s0"]


def test_a_log_of_version_1_is_shown(tmp_path: Path) -> None:
    _, records = tiny([10.0, 4.0])
    folder = logged(tmp_path, records, [], {"rows": "none"})
    header = json.loads((folder / log.HEADER).read_text())
    (folder / log.HEADER).write_text(json.dumps(header | {"version": 1}))
    page = view(folder).read_text()
    assert "not in this log (version 1)" in page
    index, samples = data(page)
    assert index["ids"] == ["s0", "s1"]
    assert index["best"] == 10.0
    assert samples[1]["answers"]["0"][0]["text"] == "it is 1"


def test_results_of_another_shape_are_shown(tmp_path: Path) -> None:
    samples, records = tiny([1.0, 0.0])
    figures = {"m": {"win_rate": 33.25, "by": {"math": 0.123456}, "note": None}, "n": {"win_rate": 1}}
    page = view(logged(tmp_path, records, samples, {"models": figures, "extra": 7, "rows": [{"name": 3}]})).read_text()
    for told in ("<th>win_rate</th>", "<th>by · math</th>", "<td>33.25</td>", "<td>0.1235</td>", "<td>extra</td>"):
        assert told in page


def test_what_is_odd_in_a_log_is_told(tmp_path: Path) -> None:
    samples, records = tiny([1.0, math.nan, 0.0])
    folder = logged(tmp_path, [*records, replace(records[0], turns=(Turn(text="again", score=0.0),))], samples[:2])
    material = of_folder(folder)
    assert material.records["m"]["s0"].score == 0.0
    assert material.records["m"]["s1"].score is None
    assert [sample.id for sample in material.samples] == ["s0", "s1", "s2"]
    assert any("does not hold" in note for note in material.results.notes)


def test_what_is_no_run_is_refused_with_the_runs_that_are(tmp_path: Path) -> None:
    folder = logged(tmp_path, [], tiny([1.0])[0])
    with pytest.raises(DataError, match=folder.name):
        view(tmp_path)
    with pytest.raises(DataError, match="give the folder of a run"):
        view(tmp_path / "nowhere")


def test_a_subject_whose_judge_was_never_understood_is_shown(tmp_path: Path) -> None:
    samples, records = tiny([None, None])
    folder = logged(tmp_path, records, samples)
    (row,) = of_folder(folder).results.rows
    assert math.isnan(row.score.value)
    page = view(folder).read_text()
    assert '<td class="score">–</td>' in page
    kept = logged(tmp_path, records, samples, as_json(of_folder(folder).results))
    assert math.isnan(of_folder(kept).results.rows[0].score.value)
    assert '<td class="score">–</td>' in view(kept).read_text()


def test_unparsed_answers_have_a_column() -> None:
    samples, records = tiny([1.0, None])
    suite = Suite(name="tiny", samples=samples, grade=by_rule(lambda *_: 0.0), best=1.0)
    row = Row(name="m", group="alone", turns=(1.0,), score=Estimate(1.0, 1.0, 1.0))
    results = Results(title="t", suite="tiny", questions=2, best=1.0, unit="", rows=[row])
    assert "<th>unparsed</th>" in render(results, suite, {"m": records})
    assert "<th>unparsed</th>" not in render(results, suite, {"m": records[:1]})


TEXT = st.text(st.characters(codec="utf-8"), max_size=40) | st.sampled_from([EVIL, "</script><!--"])
SAID = st.builds(Said, TEXT, st.none() | st.floats(0, 1))
JUDGMENT = st.builds(Judgment, judge=TEXT, text=TEXT, score=st.none() | st.floats(0, 1))
TURN = st.builds(
    Turn,
    text=TEXT,
    score=st.none() | st.floats(0, 1),
    error=TEXT,
    answers=st.dictionaries(TEXT, SAID, max_size=2),
    judgments=st.tuples(JUDGMENT),
)


@given(st.lists(st.tuples(TEXT, TURN), min_size=1, max_size=6), st.integers(1, 400))
def test_every_word_comes_back(turns: list[tuple[str, Turn]], size: int) -> None:
    samples = [
        Sample(id=str(n), category="c", turns=(text,), data={"x": math.nan}) for n, (text, _) in enumerate(turns)
    ]
    records = [Record(subject="m", sample=str(n), category="c", turns=(turn,)) for n, (_, turn) in enumerate(turns)]
    suite = Suite(name="tiny", samples=samples, grade=by_rule(lambda *_: 0.0))
    results = Results(title="t", suite="tiny", questions=len(turns), best=1.0, unit="", rows=[])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pack, "CHUNK", size)
        packed = pack.pack(of_memory(results, suite, {"m": records}))
    index, chunks = pack.unpack(packed.index), [pack.unpack(chunk) for chunk in packed.chunks]
    assert index["starts"] == [sum(map(len, chunks[:n])) for n in range(len(chunks))]
    assert "<" not in packed.index + "".join(packed.chunks)
    for (text, turn), sample in zip(turns, [sample for chunk in chunks for sample in chunk], strict=True):
        assert sample["turns"] == [text]
        assert sample["data"] == {"x": "nan"}
        (told,) = sample["answers"]["0"]
        assert told.get("text", "") == turn.text
        assert {name: (said["text"], said["score"]) for name, said in told.get("answers", {}).items()} == {
            name: (said.text, said.score) for name, said in turn.answers.items()
        }
        assert told["judgments"][0]["text"] == turn.judgments[0].text
