"""On the recorded data: boards give the published scores, and the findings that are claimed."""

import json

import pytest

from aiflow.bench.collaborations import boards, tables
from aiflow.bench.collaborations.methods import Ranker, Single, Vote
from aiflow.bench.collaborations.protocol import find, verdict
from aiflow.bench.suites.mt_bench.data import default_folder

DATA = default_folder().parent
needs_data = pytest.mark.skipif(not (DATA / "vqa" / "recorded").is_dir(), reason="the recorded data is not here")


CHOSEN = (Single(), Vote("log-odds"), Ranker(0.1), Ranker(0.3), Ranker(0.03, True), Ranker(0.1, True))
"""Those of all candidates that are found best below, to save time; the findings are the same with all."""


@needs_data
@pytest.mark.parametrize(
    ("name", "member", "score"),
    [
        ("mme", "vila_8b", 1558.5247098839536 + 282.5),
        ("ocrbench", "vila_13b", 45.8),
        ("chartqa", "vila_13b", 58.72),
        ("scienceqa", "vila_13b", 77.73009060562709),
        ("textvqa", "vila_8b", 60.16199999999999),
        ("ccbench", "vila_13b", 23.333333333333332),
        ("mmmu", "llava15_13b", 100 * 328 / 897),
        ("cot-gsm8k", "gpt-4-0613", 92.8),
        ("alpaca-eval", "claude-2.1", 15.7335),
        ("arena-hard", "gpt-4-0613", 37.90),
        ("mt-bench", "gpt-4-0613", 8.89375),
    ],
)
def test_members_have_their_published_scores(name: str, member: str, score: float) -> None:
    board = boards.load(name, DATA)
    assert board.score(board.alone(board.members.index(member))) == pytest.approx(score, abs=0.005)


@needs_data
def test_figures_of_a_pick_are_the_published_ones() -> None:
    board = boards.load("mme", DATA)
    assert board.figures is not None
    assert board.figures(board, board.alone(0))["perception"] == pytest.approx(1558.5247098839536)
    half = board.halves(0)[1]
    assert half.figures is not None
    assert half.figures(half, half.alone(0))["total"] == pytest.approx(half.score(half.alone(0)))


@needs_data
def test_collaborations_beat_their_best_member() -> None:
    """The two that won on the first half alone, before both directions were pooled, and a row that is lost."""
    boards_of = {"text": boards.pooled(boards.load("cot", DATA), "small"), "VQA": boards.load("scienceqa", DATA)}
    for kind, board in boards_of.items():
        found = find(board, CHOSEN)
        assert found.board.kind == kind
        assert found.verdict == verdict(found.directions[0].hindsight) == "won"
        assert found.hindsight.difference.lo > 0
        assert found.hindsight.p_mcnemar < 0.05
    assert find(boards.pooled(boards.load("cot-gsm8k", DATA), "open"), CHOSEN).verdict == "lost"


@needs_data
def test_table_six_is_json_with_every_member_left_out(monkeypatch) -> None:
    monkeypatch.setattr(tables, "TEXT", tables.VISUAL)
    found = json.loads(json.dumps(tables.table("VI", DATA).json(), allow_nan=False))
    text, visual = found["parts"]
    assert len(text["ablation"]) == len(visual["ablation"]) == 1 + 2 * 4
    assert not text["curve"]


def test_table_three_aggregates_as_the_paper_does(specialists, monkeypatch) -> None:
    monkeypatch.setattr(boards, "load", lambda *_: specialists)
    monkeypatch.setattr(tables, "_rated", lambda *_: {"turn 1": 9.0, "turn 2": 7.0, "MT-Bench": 8.465})
    monkeypatch.setattr(tables, "_compared", lambda *_: {"LC": 59.76, "win": 54.26})
    monkeypatch.setattr(tables, "_battled", lambda *_: {"Arena-Hard": 89.7})
    found = tables.table("III")
    assert found.rows[tables.OURS]["Agg."] == pytest.approx(76.2, abs=0.01)
    assert found.columns[-1] == "Agg."
