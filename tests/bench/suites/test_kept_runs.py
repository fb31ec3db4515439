"""A run of recorded models publishes what scoring them does; a model is graded by its own judgments."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from aiflow.bench.live.tabulate import figures
from aiflow.bench.runner import run
from aiflow.bench.subjects import Recorded
from aiflow.bench.suite import Grade, Judgment, Record, Sample, Suite, Turn
from aiflow.bench.suites import command
from aiflow.bench.suites.replayed import Replayed
from aiflow.errors import DataError

_ROOT = os.environ.get("AIFLOW_DATA")
DATA = Path(_ROOT) if _ROOT else Path(__file__).resolve().parents[4] / "shared" / "data"
needs_data = pytest.mark.skipif(not (DATA / "vqa" / "recorded").is_dir(), reason="the recorded data is not here")
SUITES = {
    "mt-bench": ("mt_bench", None),
    "arena-hard": ("arena_hard", None),
    "gsm8k": ("gsm8k", "gsm8k"),
    "MME": ("vqa", "MME"),
    "CCBench": ("vqa", "CCBench"),
    "RealWorldQA": ("vqa", "RealWorldQA"),
}
SKIPPED = {"ci", "ci_100", "interval"}  # drawn over all models at once, or over one


def apart(one: dict[str, Any], other: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    """The figures that both have, and that differ."""
    pairs = {name: (one[name], other[name]) for name in one if name in other and name not in SKIPPED}
    return {name: (a, b) for name, (a, b) in pairs.items() if a != (pytest.approx(b) if type(b) is float else b)}


@needs_data
@pytest.mark.parametrize("name", SUITES)
def test_a_kept_run_has_the_recorded_figures(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder, which = SUITES[name]
    group = name if which is None else "maths" if which == "gsm8k" else "vqa"
    scored = command.recorded(group, which=which, data=DATA / folder, json=False)["models"]
    capsys.readouterr()
    command.kept(group, which=which, data=DATA / folder, out=tmp_path, json=True)
    kept = json.loads(capsys.readouterr().out.splitlines()[-1])["models"]
    assert set(kept) <= set(scored)
    assert len(kept) >= 2
    for model, row in kept.items():
        assert apart(scored[model], row) == {}, model
        assert len(set(row) & set(scored[model])) >= 3


def grade(score: float) -> Grade:
    return Grade(score=score, judgments=(Judgment(judge="j", text="", score=score),))


async def test_the_same_answer_of_two_models_has_two_scores() -> None:
    known = Replayed({"a": {("1", 1): ("same", grade(9.0))}, "b": {("1", 1): ("same", grade(5.0))}})
    suite = Suite(name="s", samples=[Sample(id="1", category="", turns=("?",))], grade=known, graders=known.of)
    answers = {"1": ("same",)}
    found = await run(suite, [Recorded(name, answers) for name in ("a", "b", "c")])
    assert [found[name][0].score for name in ("a", "b", "c")] == [9.0, 5.0, 7.0]  # c is nobody's: the mean
    with pytest.raises(DataError, match="no recorded model gave this answer to question 1, turn 1"):
        await known(suite.samples[0], ["other"])
    with pytest.raises(DataError, match="a did not give"):
        await Replayed(known.known, "a")(suite.samples[0], ["other"])


def test_what_a_benchmark_publishes_is_not_overwritten() -> None:
    records = [
        Record(subject="s", sample=str(n), category="", turns=(Turn(text="x", score=score),))
        for n, score in enumerate((100.0, 0.0))
    ]
    samples = [Sample(id=str(n), category="", turns=("?",)) for n in range(2)]
    suite = Suite(name="s", samples=samples, grade=Replayed({}), summary=lambda _: {"score": 77.05, "n": 8})
    found = figures(suite, records)
    assert (found["score"], found["n"], found["mean"], found["questions"]) == (77.05, 8, 50.0, 2)
    assert "score_ci" not in found
    plain = Suite(name="s", samples=samples, grade=Replayed({}))
    assert (figures(plain, records)["score"], figures(plain, records)["score_ci"]) == (50.0, [0.0, 100.0])
