"""Boards: units, rules, weights, halves, and what they refuse."""

from dataclasses import replace

import numpy as np
import pytest

from aiflow.bench.collaborations import boards
from aiflow.bench.collaborations.board import Board
from aiflow.bench.collaborations.boards.make import billions, together
from aiflow.errors import DataError, UsageError


def test_scores_and_oracle(make_board) -> None:
    board = make_board([[1, 1, 0, 0], [0, 1, 1, 0]])
    assert board.score(board.alone(0)) == 50
    assert board.score(board.oracle()) == 75
    assert board.contributions(board.alone(0)).tolist() == [100, 100, 0, 0]


def test_units_by_rule(make_board) -> None:
    right, groups = [[1, 1, 1, 0], [0, 0, 0, 0]], "aabb"
    assert make_board(right, groups=groups).score(np.zeros(4, int)) == 75
    assert make_board(right, groups=groups, rule="all").score(np.zeros(4, int)) == 50
    assert make_board(right, groups=groups, rule="mean+all").score(np.zeros(4, int)) == 62.5


def test_balanced_categories_count_the_same(make_board) -> None:
    board = make_board([[1, 1, 1, 0], [0, 0, 0, 0]], categories="xxxy")
    assert board.score(board.alone(0)) == 75
    even = replace(board, balanced=True)
    assert even.score(even.alone(0)) == 50
    assert even.contributions(even.alone(0)).mean() == pytest.approx(50)


def test_weights_are_of_the_member_that_is_picked(make_board) -> None:
    board = replace(make_board([[1, 0], [0, 1]]), weights_MQ=np.array([[3.0, 1.0], [1.0, 1.0]]))
    assert board.score(np.array([0, 0])) == 75
    assert board.score(np.array([1, 1])) == 50
    unknown = replace(board, s_MQ=np.array([[1.0, np.nan], [0, 1]]), weights_MQ=np.array([[1.0, 0.0], [1, 1]]))
    assert unknown.score(np.array([0, 0])) == 100


def test_halves_keep_units_and_categories_and_do_not_depend_on_the_order(make_board) -> None:
    count = 120
    board = make_board(
        np.ones((2, count)), categories=["ab"[q // 60] for q in range(count)], groups=[q // 3 for q in range(count)]
    )
    first, second = board.halves(0)
    assert not set(first.groups) & set(second.groups)
    assert sorted(first.ids + second.ids) == sorted(board.ids)
    assert [part.categories.count("a") for part in (first, second)] == [30, 30]
    shuffled = board.take(np.random.default_rng(0).permutation(count))
    assert set(shuffled.halves(0)[0].ids) == set(first.ids)
    assert set(board.halves(1)[0].ids) != set(first.ids)
    fold_Q = board.folds(5)
    assert all(len({fold_Q[q] for q in range(count) if board.groups[q] == g}) == 1 for g in set(board.groups))


def test_a_question_is_in_the_same_half_on_a_mixed_board(make_board) -> None:
    one, two = (replace(make_board(np.ones((2, 40))), name=name) for name in ("one", "two"))
    mixed = together("both", [one, two])
    halves = [{name.split("/")[1] for name in mixed.halves(0)[0].ids if name.startswith(b.name)} for b in (one, two)]
    assert halves[0] == set(one.halves(0)[0].ids) == halves[1]
    assert mixed.categories[0].startswith("one/")


def test_blind_boards_hold_no_scores(make_board) -> None:
    board = replace(make_board([[1, 0], [0, 1]]), figures=lambda *_: {"gold": 1}).blind()
    assert np.isnan(board.s_MQ).all()
    assert board.figures is None


def test_what_does_not_fit_is_refused(make_board) -> None:
    board = make_board([[1, 0], [0, 1]])
    with pytest.raises(DataError, match="votes_MQ is"):
        replace(board, votes_MQ=board.votes_MQ[:1])
    with pytest.raises(DataError, match="holds an id twice"):
        replace(board, ids=("1", "1"))
    with pytest.raises(DataError, match="no member m9"):
        board.only(["m9"])
    with pytest.raises(DataError, match="different members"):
        together("mixed", [board, board.only([board.members[0]])])
    with pytest.raises(UsageError, match="textvqa"):
        boards.load("textvq")


@pytest.mark.parametrize(
    ("model", "size"),
    [("vila_8b", 8), ("Mixtral-8x22B-Instruct-v0.1", 176), ("Llama-3.2-1B", 1), ("6b_finetuning", 6), ("gpt-4", None)],
)
def test_sizes_in_names(model: str, size: float | None) -> None:
    assert billions(model) == size or (size is None and np.isnan(billions(model)))


def test_pools(make_board) -> None:
    board: Board = make_board(np.ones((4, 3)))
    board = replace(board, members=("a-7b", "gpt-4", "b-70b", "c-13b"), costs_M=(7, np.nan, 70, 13))
    assert boards.pooled(board, "open").members == ("a-7b", "b-70b", "c-13b")
    assert boards.pooled(board, "small").members == ("a-7b", "c-13b")
    assert boards.pooled(board, "all").name == "made: 4 models"
    with pytest.raises(DataError, match="needs two"):
        boards.pooled(board.only(["gpt-4", "b-70b"]), "small")
