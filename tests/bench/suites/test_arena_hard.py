"""Arena-Hard's published figures from battles and raw judgments, the rating model, and live judging by stand-ins."""

import gzip
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aiflow.bench.judges import Judge
from aiflow.bench.judges.verdicts import five_way, labels, last_five_way
from aiflow.bench.runner import run
from aiflow.bench.subjects import Recorded
from aiflow.bench.suite import Record, Turn
from aiflow.bench.suites import arena_hard
from aiflow.bench.suites.arena_hard import data as files
from aiflow.bench.suites.arena_hard import games, score
from aiflow.bench.suites.arena_hard.recorded import second, standings
from aiflow.bench.suites.arena_hard.score import Battle
from aiflow.bench.suites.mt_bench.data import default_folder
from aiflow.errors import DataError, InputError
from aiflow.types import Answer, Message, Options, Usage

DATA = default_folder().with_name("arena_hard")
needs_data = pytest.mark.skipif(not (DATA / "battles.jsonl.gz").is_file(), reason="the recorded data is not here")


@needs_data
def test_published_scores_and_intervals() -> None:
    found = arena_hard.recorded(DATA)["models"]
    json.dumps(found, allow_nan=False)
    assert found["gpt-4-0613"]["score"] == pytest.approx(37.90, abs=0.01)
    assert found["Qwen__Qwen2.5-72B-Instruct"]["score"] == pytest.approx(77.05, abs=0.01)
    for row in found.values():
        assert row["score"] == pytest.approx(row["closed_form"], abs=1e-6)
    wide = found["gpt-4-0613"]["ci_questions"]  # three in four battles repeat another of their question
    assert wide[0] < found["gpt-4-0613"]["ci"][0] - 1
    assert wide[1] > found["gpt-4-0613"]["ci"][1] + 1
    # the leaderboards of 2024-07-31, 05-21 and 04-20: 37.9 with these ends, of 100 rounds each
    for lo, hi in ((35.6, 40.36), (37.9 - 2.8, 37.9 + 2.4), (37.9 - 2.1, 37.9 + 2.2)):
        assert found["gpt-4-0613"]["ci"] == pytest.approx([lo, hi], abs=0.5)
    assert found["gpt-4-0613"]["n_battles"] == 1244
    assert found["gpt-4-0613"]["ties"] == 173


@needs_data
def test_the_raw_judgments_are_read_as_they_were() -> None:
    ((model, rows),) = files.judgments(DATA).items()
    read = [(game.score, games.label(game, "v0.1")) for row in rows for game in row.games if game]
    assert len(read) == 164
    assert all(was == now for was, now in read)
    assert sum(now is None for _, now in read) == 2
    found = arena_hard.recorded(DATA)["models"][model]
    assert (found["dropped"], found["mismatches"], found["n_questions"]) == (2, 0, 81)


@needs_data
async def test_recorded_answers_meet_their_recorded_battles() -> None:
    texts = arena_hard.answers(DATA)
    assert set(texts) == {"Qwen__Qwen2.5-72B-Instruct", "gpt-4-0613"}
    suite = arena_hard.suite(DATA)
    records = await run(suite, [Recorded("gpt-4-0613", texts["gpt-4-0613"])])
    assert suite.summary is not None
    assert suite.summary(records["gpt-4-0613"])["score"] == pytest.approx(37.90, abs=0.01)
    alone = arena_hard.recorded_grader(DATA, "gpt-4-0613")
    with pytest.raises(DataError, match="gpt-4-0613 did not give this answer"):
        await alone(suite.samples[0], ["never said"])
    with pytest.raises(DataError, match="no answers with judgments of 'me'"):
        arena_hard.recorded_grader(DATA, "me")


@needs_data
def test_the_live_suite_has_the_official_prompt() -> None:
    agent = Scripted("[[A=B]]")
    suite = arena_hard.suite(DATA, Judge(agent=agent))
    assert len(suite.samples) == 500
    assert suite.samples[0].options == Options(max_tokens=4096, temperature=0.0)


# The rating model


def battles(*rows: tuple[str, str, score.Winner, int]) -> list[Battle]:
    return [Battle(question=str(n), model_a=a, model_b=b, winner=w) for a, b, w, count in rows for n in range(count)]


def test_ratings_are_those_of_an_unpenalised_logistic_regression() -> None:
    from sklearn.linear_model import LogisticRegression

    rng, names = np.random.default_rng(0), "abcde"
    rows = []
    for _ in range(400):
        one, other = rng.choice(5, 2, replace=False)
        winner = rng.choice(["model_a", "model_b", "tie"], p=[0.5 - 0.05 * one, 0.3 + 0.05 * one, 0.2])
        rows.append(Battle(question="q", model_a=names[one], model_b=names[other], winner=winner))
    table = score.Table.of(rows)
    anchor = table.models.index("a")
    ours = score.bradley_terry(table.wins(table.counts[None]), anchor)[0]
    x, y = [], []
    for row in rows:
        line = np.zeros(5)
        line[table.models.index(row.model_a)], line[table.models.index(row.model_b)] = 1.0, -1.0
        x += [line, line]
        y += [row.winner != "model_b", row.winner == "model_a"]  # a tie is one win for each
    model = LogisticRegression(C=np.inf, fit_intercept=False, tol=1e-10, max_iter=1000).fit(x, y)
    assert ours == pytest.approx(model.coef_[0] - model.coef_[0][anchor], abs=1e-3)
    found = standings(rows, "a", draws=50)
    assert found["b"]["closed_form"] is None
    assert found["b"]["elo"] == pytest.approx(1000 + 400 * ours[table.models.index("b")] / np.log(10))


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from("xyz"), st.sampled_from(["model_a", "model_b", "tie"])), min_size=1, max_size=60)
)
def test_with_one_baseline_it_is_the_closed_form(rows: list[tuple[str, score.Winner]]) -> None:
    found = standings(battles(*[("base", m, w, 1) for m, w in rows]), "base", draws=20)
    for model in {m for m, _ in rows}:
        assert found[model]["score"] == pytest.approx(found[model]["closed_form"], abs=1e-6)
        lo, hi = found[model]["ci"]
        assert 0.0 <= lo <= hi <= 100.0


def test_both_ways_to_win_rates_agree() -> None:
    rows = battles(
        ("base", "x", "model_b", 7),
        ("base", "x", "model_a", 3),
        ("base", "x", "tie", 2),
        ("y", "base", "model_a", 4),
        ("y", "base", "model_b", 5),
    )
    table = score.Table.of(rows)
    drawn = next(table.resampled(64, seed=3))
    closed = score.win_rates(table, drawn, "base")
    fitted = 100 / (1 + np.exp(-score.bradley_terry(table.wins(drawn), table.models.index("base"))))
    assert fitted == pytest.approx(closed, abs=1e-5)


def test_what_no_battle_joins_has_no_rating() -> None:
    found = standings(battles(("base", "x", "tie", 4), ("y", "z", "model_a", 4)), "base", draws=10)
    assert (found["x"]["score"], found["y"]["score"], found["z"]["ci"]) == (50.0, None, [None, None])
    with pytest.raises(DataError, match="no battle is against the baseline 'me'"):
        standings(battles(("base", "x", "tie", 4)), "me")
    with pytest.raises(ValueError, match="no battles"):
        score.Table.of([])


def test_always_winning_is_a_hundred_percent() -> None:
    found = standings(battles(("base", "x", "model_b", 9)), "base", draws=10)["x"]
    assert (found["score"], found["ci"]) == (pytest.approx(100.0, abs=1e-6), [100.0, 100.0])


def test_intervals_are_the_normal_ones() -> None:
    rows = battles(("base", "x", "model_b", 480), ("base", "x", "model_a", 720))
    found = standings(rows, "base")["x"]
    half = 1.96 * 100 * np.sqrt(0.4 * 0.6 / 1200)
    assert found["interval"] == pytest.approx([-half, half], abs=0.15)
    assert found == standings(rows, "base")["x"]
    assert found["ci_100"] == pytest.approx(found["ci"], abs=1.2)


def test_the_published_rounds_are_drawn_as_the_script_draws_them() -> None:
    rows = battles(("base", "x", "model_b", 30), ("base", "x", "tie", 5), ("base", "x", "model_a", 25))
    table = score.Table.of(rows)
    ours = score.win_rates(table, next(table.published_rounds()), "base")[:, table.models.index("x")]
    share = np.array([{"model_b": 1.0, "tie": 0.5, "model_a": 0.0}[row.winner] for row in rows])
    legacy = np.random.RandomState(42)
    assert ours == pytest.approx([100 * share[legacy.choice(60, 60, replace=True)].mean() for _ in range(100)])


# Verdicts


@given(st.text(alphabet="AB<>=[] \n", max_size=60))
def test_babble_is_no_label(reply: str) -> None:
    found = five_way(reply)
    assert found is None or f"[[{found}]]" in reply
    assert (found is None) == (len(set(labels(reply))) != 1)
    last = last_five_way(reply)
    assert last is None or f"[{last}]" in reply


def test_the_rules_of_both_versions_differ() -> None:
    assert five_way("[[A>B]] ... [[A>B]]") == "A>B"
    assert five_way("[[A>B]] ... [[B>A]]") is None
    assert last_five_way("[[A>B]] ... [[b>>a]]") == "B>>A"
    assert last_five_way("[A=B]") == "A=B"
    assert five_way("[A=B]") is None
    assert games.verdict("A<B", 0, "v0.1") is None
    assert games.verdict("A<B", 0, "v2") == games.Verdict(1.0, 1)
    assert games.verdict("A>>B", 1, "v0.1") == games.Verdict(1.0, 3)
    assert games.verdicts([None, "A>B"], "v0.1") == (None, games.Verdict(1.0, 1))
    assert games.verdicts([None, "A>B"], "v2") == (None, None)


@given(st.sampled_from(sorted(games.LABELS["v2"])))
def test_swapping_the_places_swaps_the_points(label: str) -> None:
    first, other = games.verdict(label, 0, "v2"), games.verdict(label, 1, "v2")
    assert first is not None
    assert other is not None
    assert (first.points + other.points, first.weight) == (1.0, other.weight)


def test_second_version_by_hand() -> None:
    both = [["B>>A", "A>B"], ["A=B", "B>A"], [None, "A>B"]]
    found = second([games.verdicts(one, "v2") for one in both])
    assert found["score"] == pytest.approx(100 * (3 + 1 + 0.5 + 0) / 6)
    assert (found["n_battles"], found["n_questions"], found["dropped"], found["ties"]) == (6, 2, 1, 1)
    assert second([(None, None)])["score"] is None
    mean, ci = score.means([1.0] * 600 + [0.0] * 400)
    half = 1.645 * 100 * np.sqrt(0.24 / 1000)
    assert (mean, list(ci)) == (60.0, pytest.approx([60 - half, 60 + half], abs=0.15))


# Files


def lines(path: Path, rows: Sequence[object]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    text = "".join(json.dumps(row) + "\n" for row in rows).encode()
    path.write_bytes(gzip.compress(text) if path.suffix == ".gz" else text)


CONFIG = """
baseline_model: base
system_prompt: "judge"
prompt_template: ["{question_1}|{answer_1}|{answer_2}"]
temperature: 0
max_tokens: 4096
"""


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    """Three questions in v0.1's form, answered by the baseline."""
    lines(
        tmp_path / files.QUESTIONS,
        [{"question_id": f"q{n}", "category": "c", "turns": [{"content": f"ask {n} {{x}}"}]} for n in range(3)],
    )
    answers = [
        {"question_id": f"q{n}", "model_id": "base", "choices": [{"index": 0, "turns": [{"content": "old"}]}]}
        for n in range(3)
    ]
    lines(tmp_path / files.ANSWERS / "base.jsonl.gz", answers)
    (tmp_path / files.CONFIG).write_text(CONFIG)
    return tmp_path


def judgment(question: str, *words: str, model: str = "m", score: str | None = None) -> dict[str, Any]:
    return {
        "question_id": question,
        "model": model,
        "judge": "j",
        "games": [{"judgment": w, "score": score} for w in words],
    }


def test_raw_judgments_become_battles(tiny: Path) -> None:
    rows = [
        judgment("q0", "[[B>>A]]", "x"),
        judgment("q1", "[[A>B]]", "[[A=B]]"),
        judgment("q2", "[[A>B]] [[B>A]]", ""),
    ]
    lines(tiny / files.JUDGMENTS / "j" / "m.jsonl", rows)
    lines(tiny / files.JUDGMENTS / "k" / "m.jsonl", [{**judgment("q0", "?", "?"), "judge": "k"}])
    found = arena_hard.recorded(tiny)["models"]
    assert found["m"]["score"] == pytest.approx(100 * 3.5 / 5)
    assert [found["m"][k] for k in ("n_battles", "ties", "dropped", "mismatches", "n_questions")] == [5, 1, 3, 3, 2]
    assert (found["m (k)"]["score"], found["m (k)"]["dropped"], found["m (k)"]["n_battles"]) == (None, 2, 0)
    lines(tiny / files.JUDGMENTS / "j" / "m.jsonl", [*rows, rows[0]])
    with pytest.raises(DataError, match=r"judgments of m in .* 'q0' twice"):
        arena_hard.recorded(tiny)


def test_second_versions_files(tmp_path: Path) -> None:
    game = [
        {"score": "B>A", "judgment": {"answer": "[[A>B]] no: [[B>A]]"}},
        {"score": "A>>B", "judgment": {"answer": "[A>>B]"}},
    ]
    row = {"uid": "1", "category": "hard_prompt", "judge": "j", "model": "m", "baseline": "b", "games": game}
    rows = [row, {**row, "uid": "2", "games": [game[0], None]}, {**row, "uid": "3", "category": "creative_writing"}]
    lines(tmp_path / files.JUDGMENTS / "j" / "m.jsonl", rows)
    found = arena_hard.recorded(tmp_path)["models"]["m"]
    assert (found["score"], found["n_battles"], found["dropped"], found["mismatches"]) == (100.0, 4, 1, 0)
    assert set(found["categories"]) == {"hard_prompt", "creative_writing"}
    assert (found["version"], found["category"]) == ("v2", "hard_prompt")
    json.dumps(found, allow_nan=False)


def test_a_league_with_another_baseline(tmp_path: Path) -> None:
    row = {"question_id": "1", "model_a": "other", "model_b": "m", "winner": "model_b"}
    rows = [row, {**row, "winner": "tie"}, {**row, "winner": None}, {**row, "model_b": "n", "winner": "tie (bothbad)"}]
    lines(tmp_path / "battles.jsonl.gz", rows)
    found = arena_hard.recorded(tmp_path)["models"]
    assert {m: (r["score"], r["dropped"]) for m, r in found.items()} == {
        "m": (pytest.approx(75.0), 1),
        "n": (pytest.approx(50.0), 0),
    }


def test_bad_files_are_named(tiny: Path) -> None:
    with pytest.raises(DataError, match=r"holds no battles and no judgments; add battles\.jsonl"):
        arena_hard.recorded(tiny)
    with pytest.raises(DataError, match=r"question\.jsonl is missing.*arena-hard-auto"):
        arena_hard.recorded(tiny / "nowhere")
    lines(tiny / files.BATTLES, [{"question_id": "q0", "model_a": "a", "model_b": "b", "winner": "c"}])
    with pytest.raises(DataError, match=r"battles\.jsonl:1 is malformed at winner"):
        arena_hard.recorded(tiny)
    lines(tiny / files.BATTLES, [{"question_id": "q0", "winner": "tie"}])
    with pytest.raises(DataError, match=r"battles\.jsonl:1 is malformed at model_a"):
        arena_hard.recorded(tiny)
    (tiny / files.BATTLES).unlink()
    lines(tiny / files.JUDGMENTS / "j" / "m.jsonl", [{"model": "m", "games": []}])
    with pytest.raises(DataError, match=r"m\.jsonl:1 is malformed at its start.*neither question_id .* nor uid"):
        arena_hard.recorded(tiny)
    lines(tiny / files.JUDGMENTS / "j" / "m.jsonl", [judgment("q0", "[[A>B]]")])
    with pytest.raises(DataError, match=r"m\.jsonl:1 is malformed at games"):
        arena_hard.recorded(tiny)


def test_a_live_suite_needs_its_files(tiny: Path) -> None:
    judge = Judge(agent=Scripted())
    with pytest.raises(InputError, match=r"no variant 'v3'; use one of v0\.1, v2"):
        arena_hard.suite(tiny, judge, variant="v3")
    with pytest.raises(DataError, match="has no answers of the baseline 'you'"):
        arena_hard.suite(tiny, judge, baseline="you")
    with pytest.raises(DataError, match="no answers to the questions q1, q2"):
        arena_hard.suite(tiny, judge, baseline={"q0": "text"})
    (tiny / files.CONFIG).write_text(CONFIG.replace("|{answer_2}", ""))
    with pytest.raises(DataError, match="prompt_template has no place for <b>"):
        arena_hard.suite(tiny, judge)
    (tiny / files.CONFIG).write_text(CONFIG.replace("{answer_2}", "{answer_9}"))
    with pytest.raises(DataError, match=r"prompt_template cannot be filled.*answer_9"):
        arena_hard.suite(tiny, judge)
    (tiny / files.CONFIG).write_text("a: [")
    with pytest.raises(DataError, match=r"judge_config\.yaml is no YAML"):
        arena_hard.suite(tiny, judge)
    (tiny / files.CONFIG).write_text(CONFIG.replace('system_prompt: "judge"', ""))
    with pytest.raises(DataError, match=r"judge_utils\.py is missing; add system_prompt"):
        arena_hard.suite(tiny, judge)
    row = {"question_id": "q", "category": "c", "turns": [{"content": "x"}]}
    lines(tiny / files.QUESTIONS, [row, row])
    with pytest.raises(DataError, match="'q' twice"):
        arena_hard.suite(tiny, judge)


# Live


class Scripted:
    """A judge that says its words in turn, then ties."""

    name, about, node = "judge", "", "cloud"

    def __init__(self, *words: str, say: Callable[[Sequence[Message]], str] | None = None) -> None:
        self.words, self.say = list(words), say
        self.asked: list[tuple[Sequence[Message], Options | None]] = []

    async def ask(self, messages: Sequence[Message], *, options: Options | None = None, **_: object) -> Answer:
        self.asked.append((messages, options))
        text = self.say(messages) if self.say else self.words.pop(0) if self.words else "[[A=B]]"
        return Answer(text=text, usage=Usage(requests=1, completion_tokens=2))

    def stream(self, *_: object, **__: object) -> Any:
        raise NotImplementedError


async def test_two_games_with_the_places_swapped(tiny: Path) -> None:
    agent = Scripted(say=lambda talk: "[[B>>A]]" if talk[1].text.endswith("|new") else "[[A>B]]")
    suite = arena_hard.suite(tiny, Judge(agent=agent))
    records = await run(suite, [Recorded("s", {sample.id: ("new",) for sample in suite.samples})])
    first = records["s"][0].turns[0]
    assert [message.text for message in agent.asked[0][0]] == ["judge", "ask 0 {x}|old|new"]
    assert {talk[1].text for talk, _ in agent.asked} >= {"ask 0 {x}|old|new", "ask 0 {x}|new|old"}
    assert all(options == Options(max_tokens=4096, temperature=0.0) for _, options in agent.asked)
    assert [(told.label, told.verdict, told.score) for told in first.judgments] == [
        ("game 1", "B>>A", 100.0),
        ("game 2", "A>B", 100.0),
    ]
    assert first.score == 100.0
    assert suite.summary is not None
    found = suite.summary(records["s"])
    assert (found["score"], found["n_battles"], found["dropped"], found["errors"]) == (pytest.approx(100.0), 12, 0, 0)


async def test_a_judge_without_a_label_is_told_to_go_on(tiny: Path) -> None:
    def say(talk: Sequence[Message]) -> str:
        if talk[1].text.endswith("|new"):
            return "well ..." if len(talk) == 2 else "[[B>A]]"
        return "[[A>B]] or [[B>A]]"

    agent = Scripted(say=say)
    suite = arena_hard.suite(tiny, Judge(agent=agent))
    grade = await suite.grade(suite.samples[0], ["new"])
    assert len(agent.asked) == 3  # words that contradict each other are not asked for again
    assert any(talk[-1].text.startswith("continue your judgment") for talk, _ in agent.asked)
    assert [(told.text, told.score) for told in grade.judgments] == [
        ("well ...\n[[B>A]]", 100.0),
        ("[[A>B]] or [[B>A]]", None),
    ]
    assert grade.score == 100.0
    failed = Record(subject="s", sample="q1", category="c", turns=(Turn(text="", score=0.0, error="dead"),))
    known = Record(
        subject="s", sample="q0", category="c", turns=(Turn(text="new", score=100.0, judgments=grade.judgments),)
    )
    assert suite.summary is not None
    found = suite.summary([known, failed])
    assert (found["score"], found["dropped"], found["errors"]) == (pytest.approx(100 / 3), 1, 1)
    silent = await arena_hard.suite(tiny, Judge(agent=Scripted(say=lambda _: ""))).grade(suite.samples[0], ["new"])
    assert silent.score is None


async def test_the_second_version_live(tmp_path: Path) -> None:
    kinds = ["hard_prompt", "creative_writing"]
    lines(
        tmp_path / files.QUESTIONS, [{"uid": k, "category": k, "subcategory": "s", "prompt": f"ask {k}"} for k in kinds]
    )
    for name in ("o3-mini-2025-01-31", "gemini-2.0-flash-001"):
        said = [
            {"uid": k, "model": name, "messages": [{"role": "user", "content": ""}, {"content": {"answer": name}}]}
            for k in kinds
        ]
        lines(tmp_path / files.ANSWERS / f"{name}.jsonl", said)
    (tmp_path / files.CONFIG).write_text(
        'temperature: 0.0\nmax_tokens: 16000\nprompt_template: "{QUESTION}|{ANSWER_A}|{ANSWER_B}"\n'
    )
    settings_ = (
        'HARD = "be hard"\n'
        'JUDGE_SETTINGS = {"hard_prompt": {"baseline": "x", "system_prompt": HARD},\n'
        '    "creative_writing": {"system_prompt": "be kind"}}\n'
    )
    (tmp_path / files.SETTINGS).write_text(settings_ + "raise SystemExit('this file is not run')\n")
    agent = Scripted(say=lambda talk: "[[A>B]]" if talk[1].text.endswith("|new") else "no")
    suite = arena_hard.suite(tmp_path, Judge(agent=agent, retries=0), variant="v2")
    records = await run(suite, [Recorded("s", dict.fromkeys(kinds, ("new",)))])
    asked = {(talk[0].text, talk[1].text) for talk, _ in agent.asked}
    assert ("be hard", "ask hard_prompt|o3-mini-2025-01-31|new") in asked
    assert ("be kind", "ask creative_writing|new|gemini-2.0-flash-001") in asked
    assert [record.score for record in records["s"]] == [None, None]  # one game is not enough in v2
    assert suite.summary is not None
    found = suite.summary(records["s"])
    assert (found["score"], found["dropped"], set(found["categories"])) == (None, 1, set(kinds))
