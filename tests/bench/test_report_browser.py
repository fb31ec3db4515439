"""What the report's script shows, in a real Chromium: list, filters, search, keys, links, a page per question."""

import gzip
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from aiflow.bench.report import render
from aiflow.bench.report.browser import Browser, chromium
from aiflow.bench.report.material import Material
from aiflow.bench.report.opening import OPENED, measure
from aiflow.bench.report.page import page as page_of
from aiflow.bench.report.rebuild import rebuilt
from aiflow.bench.results import Results
from aiflow.bench.suite import Judgment, Record, Said, Sample, Suite, Turn, by_rule
from aiflow.bench.suites import files
from aiflow.errors import DataError

EVIL = '<img src=x onerror="window.hacked=1"><script>window.hacked=1</script>'
COUNT = 300
STEP = {"step": "answer", "agent": "phone", "started": 1.0, "seconds": 0.5, "bytes": {"a-b": 2000}, "ok": True}

pytestmark = pytest.mark.skipif(chromium() is None, reason="there is no Chromium here")


def _records(samples: list[Sample]) -> dict[str, list[Record]]:
    def record(subject: str, sample: Sample, turn: Turn) -> Record:
        return Record(subject=subject, sample=sample.id, category=sample.category, turns=(turn,))

    found: dict[str, list[Record]] = {"phone": [], "merged": []}
    for n, sample in enumerate(samples):
        alone = Turn(text=f"alone {n}", score=None if n == 5 else 100.0 * (n % 3 == 0))
        judgment = Judgment(judge="gpt", text=f"The judge liked answer {n}. {EVIL}", verdict="A>B", score=7.0)
        joint = Turn(
            text=EVIL if n == 2 else f"joint {n}",
            score=100.0 * (n % 2 == 0),
            error="broken pipe" if n == 7 else "",
            selected=("phone",),
            answers={"phone": Said(f"answer {n}", 100.0)},
            finals={"phone": Said(f"final {n}", 0.0)},
            steps=(STEP, {**STEP, "step": "merge", "started": 1.5}),
            bytes={"a-b": 4000},
            tokens=12,
            judgments=(judgment,),
        )
        found["phone"].append(record("phone", sample, alone))
        found["merged"].append(record("merged", sample, joint))
    return found


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with Browser() as found:
        yield found


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    ids = [f"q/{n} ü" if n == 9 else f"q{n}" for n in range(COUNT)]
    samples = [
        Sample(id=name, category=f"c{n % 3}", turns=(f"What is {n}? {EVIL}",), references=(f"reference {n}",))
        for n, name in enumerate(ids)
    ]
    records = _records(samples)
    suite = Suite(name="tiny", samples=samples, grade=by_rule(lambda *_: 0.0))
    by_id = {name: {record.sample: record for record in found} for name, found in records.items()}
    rows = rebuilt(samples, by_id)
    results = Results(title="tiny", suite="tiny", questions=COUNT, best=100.0, unit="%", rows=rows)
    path = tmp_path_factory.mktemp("page") / "report.html"
    path.write_text(render(results, suite, records))
    return path


@pytest.fixture
def opened(browser: Browser, path: Path) -> Browser:
    browser.send("Page.navigate", url="about:blank")
    browser.errors.clear()
    browser.open(path)
    browser.until(OPENED)
    return browser


def ids(browser: Browser) -> list[str]:
    found = browser.ask("[...document.querySelectorAll('#list .row .id')].map(node => node.textContent)")
    assert isinstance(found, list)
    return found


def choose(browser: Browser, name: str, value: str) -> str:
    """Sets a control, waits for the count, and returns it."""
    browser.ask(f"""(() => {{
        const node = document.getElementById('{name}');
        document.getElementById('count').textContent = '';
        node.value = {json.dumps(value)};
        node.oninput ? node.oninput() : node.onchange();
    }})()""")
    told = browser.until(
        "/of/.test(document.getElementById('count').textContent) && document.getElementById('count').textContent"
    )
    assert isinstance(told, str)
    return told


def press(browser: Browser, key: str) -> None:
    for kind in ("keyDown", "keyUp"):
        browser.send("Input.dispatchKeyEvent", type=kind, key=key, **({"text": key} if len(key) == 1 else {}))


def article(browser: Browser, name: str) -> str:
    """The text of the question's page, once it is that question's."""
    wanted = json.dumps(name)
    browser.until(f"document.querySelector('#question .id')?.textContent === {wanted}")
    text = browser.ask("document.getElementById('question').textContent")
    assert isinstance(text, str)
    return text


def test_the_list_holds_only_what_is_in_sight(opened: Browser) -> None:
    assert ids(opened)[:3] == ["q0", "q1", "q2"]
    assert len(ids(opened)) < 60
    opened.ask("document.getElementById('list').scrollTop = 1e6")
    opened.until(f"[...document.querySelectorAll('#list .row .id')].at(-1).textContent === 'q{COUNT - 1}'")
    assert not opened.errors


@pytest.mark.parametrize(
    ("control", "value", "count"),
    [
        ("category", "c1", 100),
        ("outcome", "right", 150),
        ("outcome", "disagree", 150),  # one is right at multiples of 3, the other at multiples of 2
        ("outcome", "error", 1),
        ("outcome", "only", 100),
        ("outcome", "none", 0),
        ("find", "the JUDGE liked answer 29", 11),
        ("find", "JOINT 299", 1),
        ("find", "q/9", 1),
        ("find", "not there at all", 0),
    ],
)
def test_filters_and_search(opened: Browser, control: str, value: str, count: int) -> None:
    assert choose(opened, control, value) == f"{count} of {COUNT}"
    assert not opened.errors


def test_the_outcome_is_that_of_the_chosen_model(opened: Browser) -> None:
    choose(opened, "subject", "0")
    assert choose(opened, "outcome", "none") == f"1 of {COUNT}"
    assert ids(opened) == ["q5"]
    choose(opened, "outcome", "any")
    choose(opened, "order", "low")
    assert ids(opened)[:2] == ["q1", "q2"]


def test_a_page_per_question(opened: Browser) -> None:
    opened.ask("document.querySelector('[data-n=\"4\"]').click()")
    text = article(opened, "q4")
    for told in ("What is 4?", "Reference: reference 4", "joint 4", "alone 4", "answer 4", "final 4", "liked answer 4"):
        assert told in text
    for told in ("gpt", "verdict A>B", "score 7", "selected phone", "12 tokens", "4.0 KB", "merge", "500 ms", "right"):
        assert told in text
    left = opened.ask(
        "[...document.querySelectorAll('#question .line i')].map(node => [node.style.left, node.style.width])"
    )
    assert left == [["0%", "50%"], ["50%", "50%"]]
    assert opened.ask("location.hash") == "#q-q4"


def test_nothing_that_was_said_becomes_markup(opened: Browser) -> None:
    opened.ask("document.querySelector('[data-n=\"2\"]').click()")
    assert article(opened, "q2").count(EVIL) >= 3
    choose(opened, "find", "hacked")
    assert opened.ask("[document.images.length, window.hacked === undefined]") == [0, True]
    assert not opened.errors


def test_keys_go_from_question_to_question(opened: Browser) -> None:
    choose(opened, "category", "c2")
    for key, name in (("j", "q2"), ("j", "q5"), ("j", "q8"), ("k", "q5")):
        press(opened, key)
        article(opened, name)
    opened.ask("document.getElementById('list').focus()")
    press(opened, "ArrowDown")
    article(opened, "q8")
    press(opened, "/")
    assert opened.ask("document.activeElement.id") == "find"
    press(opened, "j")
    opened.until("document.getElementById('find').value === 'j'")
    press(opened, "Escape")
    assert opened.ask("document.getElementById('question').hidden") is True


@pytest.mark.parametrize(("hash", "name"), [("#q-q150", "q150"), ("#q-q%2F9%20%C3%BC", "q/9 ü"), ("#q-q/9 ü", "q/9 ü")])
def test_a_link_opens_its_question(browser: Browser, path: Path, hash: str, name: str) -> None:
    browser.send("Page.navigate", url="about:blank")
    browser.open(path, hash)
    assert "joint" in article(browser, name)
    assert name in ids(browser)


def test_a_link_to_no_question_opens_none(browser: Browser, path: Path) -> None:
    browser.send("Page.navigate", url="about:blank")
    browser.open(path, "#q-%E0%A4%A")
    browser.until(OPENED)
    assert browser.ask("document.getElementById('question').hidden") is True


def test_a_report_of_14000_questions_opens_at_once(tmp_path: Path) -> None:
    try:
        folder = files.locate("vqa", None, "recorded/SEEDBench_IMG.jsonl.gz")
    except DataError:
        pytest.skip("the recorded data is not here")
    lines = gzip.decompress((folder / "recorded/SEEDBench_IMG.jsonl.gz").read_bytes()).splitlines()
    items = [json.loads(line) for line in lines]
    samples = [
        Sample(
            id=str(item["index"]),
            category=item["category"],
            turns=("\n".join([item["question"], *(f"{letter}. {item[letter]}" for letter in "ABCD")]),),
            references=(item["answer"],),
        )
        for item in items
    ]
    records = {
        model: {
            sample.id: Record(
                subject=model,
                sample=sample.id,
                category=sample.category,
                turns=(Turn(text=item["prediction"][model], score=100.0 * item["hit"][model]),),
            )
            for item, sample in zip(items, samples, strict=True)
        }
        for model in items[0]["prediction"]
    }
    rows = rebuilt(samples, records)
    assert [round(row.score.value, 2) for row in rows] == [67.89, 72.74]
    results = Results(title="SEED-Bench", suite="seed", questions=len(samples), best=100.0, unit="%", rows=rows)
    path = tmp_path / "report.html"
    path.write_text(page_of(Material(results=results, samples=samples, records=records)))
    found = measure(path, repeats=3)
    assert found["wall"] <= 2
    assert found["page"] <= 2
