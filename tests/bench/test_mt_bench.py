"""MT-Bench on recorded answers: the facts that the recordings give, and what is said when they are missing."""

import gzip
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from aiflow.bench.collaborations.mt_bench import crossfit, main, run_mt_bench
from aiflow.bench.collaborations.mt_bench.server import ExtractiveServer, central
from aiflow.bench.judges import rating
from aiflow.bench.suite import Sample
from aiflow.bench.suites.mt_bench.data import ANSWERS, QUESTIONS, REPLIES, default_folder, load, published
from aiflow.errors import DataError, InputError

DATA = default_folder()
needs_data = pytest.mark.skipif(not (DATA / ANSWERS).is_file(), reason="the recorded data is not here")


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        ("Good. Rating: [[7]]", 7.0),
        ("[[7.5]] and then [[2]]", 7.5),
        ("Rating: [6]", 6.0),
        ("see [1]. Rating: [[9]]", 9.0),
        ("Rating: 8", None),
        ("[[ten]]", None),
    ],
)
def test_the_rating_rule(reply: str, expected: float | None) -> None:
    assert rating(reply) == expected


@needs_data
def test_scores_equal_the_published_ones() -> None:
    recorded = load(DATA)
    assert len(recorded.samples) == 80
    assert recorded.dropped == 0
    known = published(DATA)
    assert len(known) == 21
    for model, score in known.items():
        assert recorded.mean(model) == pytest.approx(score, abs=1e-9)
    assert round(recorded.mean("gpt-4-0613"), 4) == 8.8938
    assert round(recorded.mean("mistralai--Mistral-7B-Instruct-v0.1"), 4) == 6.6937
    assert round(recorded.mean("meta-llama--Llama-2-7b-chat-hf"), 4) == 6.0687


@needs_data
def test_a_run_through_the_real_graph(tmp_path: Path) -> None:
    outcome = run_mt_bench(load(DATA), DATA, 4, out=tmp_path, quiet=True)
    found = outcome.json()
    assert found["best_single"] <= found["oracle"]
    assert found["random"] <= found["merged"] <= found["oracle"]
    assert "self_moa" not in found
    assert all(row["errors"] == 0 for row in found["rows"])
    headline = outcome.records["19 open models: 3 devices"]
    for record in headline:
        first, second = record.turns
        assert len(first.selected) == len(first.answers) == 3
        author = next(name for name, said in first.answers.items() if said.text == first.text)
        assert second.answers[author].text == second.text
    assert outcome.report.stat().st_size < 5_000_000


def test_what_is_missing_is_named_with_its_source(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"question\.jsonl is missing.*FastChat"):
        main(data=tmp_path)
    row = {"question_id": 1, "category": "math", "turns": ["a", "b"]}
    (tmp_path / QUESTIONS).write_text(json.dumps(row))
    with pytest.raises(DataError, match=r"answers\.json\.gz is missing.*FastEval"):
        main(data=tmp_path)


def tiny(folder: Path, reply: str) -> Path:
    (folder / "recorded").mkdir()
    rows = [{"question_id": n, "category": "c", "turns": [f"one {n}", f"two {n}"]} for n in (1, 2)]
    (folder / QUESTIONS).write_text("\n".join(map(json.dumps, rows)))
    answers = {model: {str(n): [f"{model} a", f"{model} b"] for n in (1, 2)} for model in ("x-7b", "y-7b")}
    replies = {
        model: [{"question_id": str(n), "turn_number": t, "judge_reply": "[[5]]"} for n in (1, 2) for t in (0, 1)]
        for model in answers
    }
    replies["x-7b"][0]["judge_reply"] = reply
    (folder / ANSWERS).write_bytes(gzip.compress(json.dumps(answers).encode()))
    (folder / REPLIES).write_bytes(gzip.compress(json.dumps(replies).encode()))
    return folder


def test_an_unparsed_judgment_is_counted_not_zero(tmp_path: Path) -> None:
    recorded = load(tiny(tmp_path, "no idea"))
    assert (recorded.dropped, [sample.id for sample in recorded.samples]) == (1, ["2"])
    assert recorded.mean("x-7b") == 5.0


def test_malformed_files_are_named(tmp_path: Path) -> None:
    tiny(tmp_path, "[[5]]")
    (tmp_path / REPLIES).write_bytes(b"not gzip")
    with pytest.raises(DataError, match=r"gpt4_judge_replies\.json\.gz cannot be read"):
        load(tmp_path)
    (tmp_path / REPLIES).write_bytes(gzip.compress(b'{"x-7b": 3}'))
    with pytest.raises(DataError, match="is malformed at x-7b"):
        load(tmp_path)
    shutil.rmtree(tmp_path / "recorded")
    (tmp_path / QUESTIONS).write_text("{}")
    with pytest.raises(DataError, match="is malformed at question_id"):
        load(tmp_path)


def test_expectations_do_not_peek() -> None:
    rng = np.random.default_rng(0)
    ratings = rng.uniform(1, 10, (4, 12))
    changed = ratings.copy()
    changed[:, 5] = rng.uniform(1, 10, 4)
    kinds = ["a", "b"] * 6
    assert np.allclose(crossfit.expected(ratings, kinds)[:, 5], crossfit.expected(changed, kinds)[:, 5])
    assert crossfit.best_before(ratings)[5] == crossfit.best_before(changed)[5]


def test_the_central_text_is_what_most_say() -> None:
    texts = ["the answer is forty two", "it is forty two", "bananas are yellow"]
    assert central(texts, np.ones(3)) in (0, 1)
    assert central(texts, np.array([0.01, 0.01, 1.0])) == 2
    assert central(["?", "!"], np.array([0.2, 0.8])) == 1


async def test_the_server_stays_with_its_pick() -> None:
    sample = Sample(id="1", category="c", turns=("Why?\n\nName the colours.", "And?"))
    server = ExtractiveServer([sample], {"a": "this", "b": "that"}, {"1": {"a": 9.0, "b": 1.0}})
    listed = "Assistants:\n- a: this\n- b: that\n\nName the 1 best suited to the last question, best first."
    assert (await server.ask(f"User: {sample.turns[0]}\n\n{listed}")).text == "a"
    talk = f"User: {sample.turns[0]}\nAssistant: because\nUser: And?"
    answers = "Answers:\n- b (that): so\n- a (this): thus\n\nName the assistant with the best answer."
    assert (await server.ask(f"{talk}\n\n{answers}")).text == "a"
    with pytest.raises(InputError, match="writes nothing"):
        await server.ask(f"{talk}\n\nWrite the best answer to the last question.")
