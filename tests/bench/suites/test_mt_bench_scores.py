"""MT-Bench's published figures from raw judge replies, its pairs, and live judging by stand-ins."""

import gzip
import json
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiflow.bench.judges import Judge, rating
from aiflow.bench.judges.verdicts import letter, two_scores, winner_by_scores
from aiflow.bench.runner import run
from aiflow.bench.subjects import Recorded
from aiflow.bench.suites import mt_bench
from aiflow.bench.suites.mt_bench import data as files
from aiflow.bench.suites.mt_bench import score
from aiflow.bench.suites.mt_bench.prompts import Prompts
from aiflow.errors import DataError, InputError
from aiflow.types import Answer, Message, Options, Usage

DATA = files.default_folder()
needs_data = pytest.mark.skipif(not (DATA / files.ANSWERS).is_file(), reason="the recorded data is not here")
BABBLE = st.text(alphabet="AB[]<>=C123,. \n", max_size=60)


@needs_data
def test_every_recorded_model_has_its_published_scores() -> None:
    found = mt_bench.recorded(DATA)
    assert found["suite"] == "mt-bench"
    published = json.loads((DATA / files.PUBLISHED).read_text())
    assert set(found["models"]) == set(published)
    for model, row in found["models"].items():
        known = published[model]
        assert row["average"] == pytest.approx(known["pub"], abs=1e-9)
        assert row["fastchat_average"] == pytest.approx(known["allmean"], abs=1e-9)
        assert (row["turn_1"], row["turn_2"]) == pytest.approx((known["t1"], known["t2"]), abs=1e-9)
        assert (row["n"], row["unparsed"], row["missing"], row["difference"]) == (160, 0, 0, pytest.approx(0, abs=1e-9))
        assert sum(row["categories"].values()) / 8 == pytest.approx(known["pub"], abs=1e-9)
    assert found["models"]["gpt-4-0613"]["categories"]["math"] == 6.65
    json.dumps(found, allow_nan=False)


@needs_data
async def test_recorded_answers_meet_their_recorded_judgments() -> None:
    texts = mt_bench.answers(DATA)
    suite = mt_bench.suite(DATA)
    assert len(suite.samples) == 80
    names = ("gpt-4-0613", "tiiuae--falcon-7b-instruct")
    records = await run(suite, [Recorded(name, texts[name]) for name in names])
    assert suite.summary is not None
    found = {name: suite.summary(rows) for name, rows in records.items()}
    assert found["gpt-4-0613"]["average"] == pytest.approx(8.89375)
    assert found["tiiuae--falcon-7b-instruct"]["turn_2"] == pytest.approx(3.4875, abs=0.02)
    alone = mt_bench.recorded_grader(DATA, "tiiuae--falcon-7b-instruct")
    with pytest.raises(DataError, match="falcon-7b-instruct did not give this answer to question 81, turn 1"):
        await alone(suite.samples[0], texts["gpt-4-0613"]["81"][:1])


@needs_data
def test_the_protocol_of_the_live_suite() -> None:
    judge = Judge(agent=Scripted(lambda _: ""))
    suite = mt_bench.suite(DATA, judge)
    known = {sample.category: sample.options for sample in suite.samples if sample.options}
    temperatures = {category: options.temperature for category, options in known.items()}
    assert temperatures["writing"] == temperatures["roleplay"] == 0.7
    assert temperatures["stem"] == temperatures["humanities"] == 0.1
    assert temperatures["math"] == temperatures["coding"] == temperatures["extraction"] == 0.0
    assert all(options.max_tokens == 1024 for options in known.values())
    with_references = [sample.id for sample in suite.samples if sample.references]
    assert with_references == [str(n) for n in range(101, 131)]
    first = suite.samples[0]
    assert first.options is not None
    assert first.options.seed == 81
    assert known["math"].seed is None
    asked = Prompts.read(DATA).single(suite.samples[20], ["<one>", "<two>"])
    assert [message.role for message in asked] == ["system", "user"]
    assert all(part in asked[1].text for part in ("<two>", suite.samples[20].turns[1], suite.samples[20].references[1]))


@needs_data
async def test_pairs_against_a_recorded_baseline() -> None:
    likes_long = Judge(agent=Scripted(lambda text: "[[A]]" if "short" not in text.split("Assistant B")[0] else "[[B]]"))
    suite = mt_bench.suite(DATA, likes_long, variant="pairwise", baseline="gpt-4-0613")
    said = {sample.id: ("short", "short") for sample in suite.samples}
    records = await run(suite, [Recorded("brief", said)])
    assert suite.summary is not None
    found = suite.summary(records["brief"])
    assert found["win"] + found["loss"] + found["tie"] == found["n"] == 160
    assert found["loss"] > 100
    with pytest.raises(DataError, match=r"no answers of the baseline 'gpt-3.5-turbo'.*gpt-3.5-turbo-0613"):
        mt_bench.suite(DATA, likes_long, variant="pairwise")


class Scripted:
    """A judge whose words follow from the last message."""

    name, about, node = "judge", "", "cloud"

    def __init__(self, say: Callable[[str], str]) -> None:
        self.say, self.asked = say, list[tuple[Sequence[Message], Options | None]]()

    async def ask(self, messages: Sequence[Message], *, options: Options | None = None, **_: object) -> Answer:
        self.asked.append((messages, options))
        return Answer(text=self.say(messages[-1].text), usage=Usage(requests=1, completion_tokens=2))

    def stream(self, *_: object, **__: object) -> Any:
        raise NotImplementedError


def lines(path: Path, rows: Sequence[object]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    """Two questions, one of them judged against references, with templates of the official names."""
    questions = [
        {"question_id": 1, "category": "writing", "turns": ["q1 {a}", "q2"], "required_temperature": 0.3},
        {"question_id": 2, "category": "math", "turns": ["m1", "m2"]},
    ]
    lines(tmp_path / files.QUESTIONS, questions)
    lines(tmp_path / files.REFERENCES, [{"question_id": 2, "model_id": "gpt-4", "choices": [{"turns": ["r1", "r2"]}]}])
    one, two = "Q {question} A {answer}", "{question_1}|{question_2}|{answer_1}|{answer_2}"
    pair, pairs = (
        "{question}|{answer_a}|{answer_b}",
        "{question_1}{question_2}{answer_a_1}|{answer_a_2}|{answer_b_1}|{answer_b_2}",
    )
    texts = {"single-v1": one, "single-v1-multi-turn": two, "pair-v2": pair, "pair-v2-multi-turn": pairs}
    texts |= {
        n.replace("single", "single-math").replace("pair-v2", "pair-math-v1"): "R {ref_answer_1} " + t
        for n, t in texts.items()
    }
    lines(
        tmp_path / files.PROMPTS,
        [{"name": n, "system_prompt": "judge", "prompt_template": t} for n, t in texts.items()],
    )
    return tmp_path


def replies(folder: Path, rows: dict[str, list[tuple[str, int, str]]]) -> None:
    found = {
        m: [{"question_id": q, "turn_number": t, "judge_reply": r} for q, t, r in said] for m, said in rows.items()
    }
    (folder / "recorded").mkdir(exist_ok=True)
    (folder / files.REPLIES).write_bytes(gzip.compress(json.dumps(found).encode()))


def test_what_is_unparsed_or_missing_is_counted_apart(tiny: Path) -> None:
    replies(
        tiny, {"m": [("1", 0, "[[8]]"), ("2", 0, "[[3]]"), ("1", 1, "[[5]]"), ("2", 1, "hm")], "n": [("1", 0, "?")]}
    )
    found = mt_bench.recorded(tiny)["models"]
    assert found["m"]["average"] == (5.5 + 5) / 2
    assert found["m"]["fastchat_average"] == pytest.approx(16 / 3)
    assert (found["m"]["n"], found["m"]["unparsed"], found["m"]["missing"]) == (3, 1, 0)
    assert found["m"]["categories"] == {"writing": 6.5, "math": 3.0}
    assert found["m"]["categories_turn_2"] == {"writing": 5.0}
    assert (found["n"]["average"], found["n"]["unparsed"], found["n"]["missing"]) == (None, 1, 3)
    assert "published" not in found["m"]


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        ([("1", 0, "[[1]]"), ("1", 0, "[[2]]")], "judged twice on question 1, turn 1"),
        ([("9", 0, "[[1]]")], r"question '9', which question\.jsonl lacks"),
        ([("1", 2, "[[1]]")], "turn 3 of question 1"),
    ],
)
def test_judgments_that_cannot_be(tiny: Path, rows: list[tuple[str, int, str]], told: str) -> None:
    replies(tiny, {"m": rows})
    with pytest.raises(DataError, match=told):
        mt_bench.recorded(tiny)


def test_missing_and_doubled_files_are_named(tiny: Path) -> None:
    with pytest.raises(DataError, match=r"gpt4_judge_replies\.json\.gz is missing.*FastEval"):
        mt_bench.recorded(tiny)
    with pytest.raises(DataError, match=r"answers\.json\.gz is missing"):
        mt_bench.answers(tiny)
    with pytest.raises(InputError, match="no variant 'triple'"):
        mt_bench.suite(tiny, variant="triple")
    lines(tiny / files.REFERENCES, [{"question_id": 9, "choices": [{"turns": ["x"]}]}])
    with pytest.raises(DataError, match=r"gpt-4\.jsonl has no reference answers to question 2 \(math\)"):
        mt_bench.suite(tiny, Judge(agent=Scripted(str)))
    lines(tiny / files.QUESTIONS, [{"question_id": 1, "category": "writing", "turns": ["a", "b"]}] * 2)
    with pytest.raises(DataError, match="'1' twice"):
        mt_bench.suite(tiny, Judge(agent=Scripted(str)))
    lines(tiny / files.PROMPTS, [{"name": "single-v1", "system_prompt": "", "prompt_template": "{question}"}])
    with pytest.raises(DataError, match="'single-v1' has the places"):
        Prompts.read(tiny)


def test_fastchats_own_judgments(tiny: Path) -> None:
    single = [
        {"question_id": 1, "model": "m", "turn": 1, "judgment": "[[8]]", "score": 8},
        {"question_id": 1, "model": "m", "turn": 2, "judgment": "none", "score": -1},
        {"question_id": 2, "model": "m", "turn": 1, "judgment": "[[4]]", "score": 5},
        {"question_id": 2, "model": "m", "turn": 2, "score": 7},
    ]
    lines(tiny / "model_judgment" / "gpt-4_single.jsonl", single)
    names = {"model_1": "m", "model_2": "gpt-3.5-turbo", "question_id": 1}
    games = [("model_1", "model_1"), ("model_1", "model_2"), ("tie", "tie"), ("model_2", "model_2"), ("error", "tie")]
    pair = [{**names, "turn": n, "g1_winner": a, "g2_winner": b} for n, (a, b) in enumerate(games)]
    lines(tiny / "model_judgment" / "gpt-4_pair.jsonl", pair)
    row = mt_bench.recorded(tiny)["models"]["m"]
    assert (row["turn_1"], row["turn_2"], row["unparsed"], row["mismatches"]) == (6.0, 7.0, 1, 1)
    found = row["pairwise"]
    assert [found[k] for k in ("win", "loss", "tie", "unparsed", "n")] == [1, 1, 2, 1, 4]
    assert (found["win_rate"], found["win_rate_adjusted"], found["baseline"]) == (0.25, 0.5, "gpt-3.5-turbo")
    lines(tiny / "model_judgment" / "gpt-4_single.jsonl", [*single, single[0]])
    with pytest.raises(DataError, match="'m, question 1, turn 1' twice"):
        mt_bench.recorded(tiny)
    lines(tiny / "model_judgment" / "gpt-4_single.jsonl", [{"question_id": 1, "model": "m"}])
    with pytest.raises(DataError, match=r"gpt-4_single\.jsonl:1 is malformed at turn"):
        mt_bench.recorded(tiny)


def test_fasteval_alone_has_the_questions_too(tiny: Path) -> None:
    replies(tiny, {"m": [("1", 0, "[[8]]")]})
    (tiny / files.QUESTIONS).unlink()
    known = {"1": {"category": "writing", "turns": ["a", "b"]}, "2": {"category": "math", "turns": ["c", "d"]}}
    (tiny / files.WITH_REFERENCES).write_text(json.dumps(known))
    assert mt_bench.recorded(tiny)["models"]["m"]["categories"] == {"writing": 8.0}
    asked = mt_bench.suite(tiny, Judge(agent=Scripted(str))).samples
    assert [sample.references for sample in asked] == [(), ("r1", "r2")]


async def test_a_live_judge_rates_both_turns(tiny: Path) -> None:
    agent = Scripted(lambda text: "[[55]]" if text.startswith("R") else "fine: [[8]]")
    suite = mt_bench.suite(tiny, Judge(agent=agent))
    first = suite.samples[0].options
    assert first == Options(max_tokens=1024, temperature=0.3, seed=1)
    records = await run(suite, [Recorded("s", {"1": ("x", "y"), "2": ("3", "4")})])
    talks = [messages[-1].text for messages, _ in agent.asked]
    assert "Q q1 {a} A x" in talks
    assert "q1 {a}|q2|x|y" in talks
    assert "R r1 m1|m2|3|4" in talks
    assert all(options and (options.temperature, options.max_tokens) == (0.0, 2048) for _, options in agent.asked)
    told = records["s"][0].turns[1].judgments[0]
    assert (told.verdict, told.score, told.label, told.text) == ("8", 8.0, "turn 2", "fine: [[8]]")
    assert suite.summary is not None
    found = suite.summary(records["s"])
    assert (found["average"], found["n"], found["unparsed"]) == (8.0, 2, 2)


async def test_both_games_must_agree(tiny: Path) -> None:
    async def scored(say: Callable[[str], str]) -> list[float | None]:
        suite = mt_bench.suite(
            tiny, Judge(agent=Scripted(say)), variant="pairwise", baseline={"1": ("b", "b"), "2": ("b", "b")}
        )
        records = await run(suite, [Recorded("s", {"1": ("s", "s"), "2": ("s", "s")})])
        return [turn.score for record in records["s"] for turn in record.turns]

    assert await scored(lambda text: "[[A]]" if text.endswith("b") else "[[B]]") == [100.0] * 4
    assert await scored(lambda text: "[[B]]" if text.endswith("b") else "[[A]]") == [0.0] * 4
    assert await scored(lambda _: "[[A]]") == [50.0] * 4
    assert await scored(lambda _: "[[C]]") == [50.0] * 4
    assert await scored(lambda text: "[[A]] or [[B]]" if text.endswith("b") else "[[A]]") == [None] * 4


def test_the_older_pairs_of_scores() -> None:
    assert two_scores("so [[8,7.5]] and [[1, 2]]") == (8.0, 7.5)
    assert two_scores("so [8, 7]") == (8.0, 7.0)
    assert [winner_by_scores(f"[[{pair}]]") for pair in ("8, 7", "7,8", "7,7.1", "x")] == ["A", "B", "tie", None]


@given(BABBLE)
def test_babble_is_no_verdict(reply: str) -> None:
    found = {verdict for verdict in "ABC" if f"[[{verdict}]]" in reply}
    assert letter(reply) == ({"A": "A", "B": "B", "C": "tie"}[found.pop()] if len(found) == 1 else None)
    if rating(reply) is not None:
        assert any(f"[{digit}" in reply for digit in "123")


WINNERS = st.sampled_from(get_args(score.GameWinner))


@given(st.lists(st.tuples(WINNERS, WINNERS), max_size=20))
def test_a_pair_is_symmetric(games: list[tuple[score.GameWinner, score.GameWinner]]) -> None:
    pairs = [score.Pair(model_1="x", model_2="y", first=a, second=b) for a, b in games]
    found = score.pairwise(pairs, None)
    if pairs:
        x, y = found["x"], found["y"]
        assert (x["win"], x["tie"], x["unparsed"]) == (y["loss"], y["tie"], y["unparsed"])
        assert x["n"] + x["unparsed"] == len(pairs)
        if x["n"]:
            assert x["win_rate_adjusted"] + y["win_rate_adjusted"] == pytest.approx(1.0)


@given(st.lists(st.one_of(st.none(), st.integers(1, 10)), min_size=2, max_size=40))
def test_both_averages_agree_when_nothing_is_missing(values: list[float | None]) -> None:
    rows = [score.Rated(question=str(n // 2), category="c", turn=n % 2 + 1, value=v) for n, v in enumerate(values)]
    found = score.figures(rows, expected=len(rows) + 3)
    assert (found["n"] + found["unparsed"], found["missing"]) == (len(values), 3)
    if None not in values and len(values) % 2 == 0:
        assert found["average"] == pytest.approx(found["fastchat_average"])


def test_nothing_judged_has_no_rate() -> None:
    assert score.rates(Counter({"unparsed": 2}))["win_rate"] is None
