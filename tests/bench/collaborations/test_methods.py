"""Every way to collaborate, where it must help, and what it may see."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aiflow.bench.collaborations.methods import (
    CANDIDATES,
    ByCategory,
    ByText,
    Cascade,
    Central,
    Ranker,
    Referee,
    Vote,
    linear,
)
from aiflow.bench.collaborations.methods.evidence import candidates, contrast, seen, sums, told
from aiflow.bench.collaborations.methods.picks import by_category
from aiflow.bench.collaborations.protocol import crossfitted


@pytest.mark.parametrize("method", [ByCategory(10), ByText(3), Vote("log-odds", 10), Ranker(0.1), Referee(0.1)])
def test_specialists_are_told_apart(specialists, method) -> None:
    best = specialists.score(specialists.alone(specialists.best_single()))
    assert specialists.score(crossfitted(specialists, method)) > best + 5


@pytest.mark.parametrize("method", [Vote(), Vote("accuracy"), Vote("log-odds"), Central(), Ranker(0.1)])
def test_many_independent_members_outvote_the_best(make_board, method) -> None:
    board = make_board(np.random.default_rng(0).random((7, 300)) < 0.6)
    best = board.score(board.alone(board.best_single()))
    assert board.score(crossfitted(board, method)) > best + 10


def test_a_weighted_vote_follows_the_expert(make_board) -> None:
    rng = np.random.default_rng(1)
    right = rng.random((3, 200)) < np.array([[0.98], [0.3], [0.3]])
    board = make_board(right)
    votes = np.where(right, "yes", "no").astype(object)
    board = replace(board, votes_MQ=votes)
    expert = board.score(board.alone(0))
    assert board.score(crossfitted(board, Vote("log-odds"))) == expert
    assert board.score(crossfitted(board, Vote())) < expert - 10


def test_a_cascade_saves_cost_where_the_cheap_ones_agree(make_board) -> None:
    rng = np.random.default_rng(2)
    board = make_board(rng.random((3, 300)) < np.array([[0.8], [0.8], [0.85]]))
    board = replace(board, costs_M=(1.0, 2.0, 70.0))
    picks = Cascade().fit(board).pick(board.blind())
    assert board.score(picks.who_Q) > board.score(board.alone(2))
    cost = picks.cost(board)
    assert cost is not None
    assert 3 < cost < 45
    assert picks.cost(replace(board, costs_M=(1.0, np.nan, 70.0))) is None


def test_the_central_answer_is_the_one_most_alike(make_board) -> None:
    board = make_board(np.array([[1.0], [1.0], [0.0]]))
    board.answers_MQ[:, 0] = ["the cat sat on the mat", "the cat sat on a mat", "dogs bark loudly"]
    assert Central(10.0).fit(board).pick(board.blind()).who_Q[0] in (0, 1)
    board.answers_MQ[:, 0] = ""
    assert Central().fit(board).pick(board.blind()).who_Q[0] in (0, 1)


@pytest.mark.parametrize("method", CANDIDATES, ids=lambda method: method.name)
def test_no_method_looks_at_the_test_scores(specialists, method) -> None:
    development, test = specialists.halves(0)
    fitted = method.fit(development)
    wrong = replace(test, s_MQ=1 - test.s_MQ)
    seen = [fitted.pick(board).who_Q.tolist() for board in (test.blind(), test, wrong)]
    assert seen[0] == seen[1] == seen[2]


@pytest.mark.parametrize("method", CANDIDATES, ids=lambda method: method.name)
def test_odd_boards_do_not_stop_a_method(make_board, method) -> None:
    rng = np.random.default_rng(3)
    board = make_board(rng.random((3, 40)) < 0.5, categories=rng.integers(0, 9, 40))
    board.votes_MQ[:, :5] = ""
    board.answers_MQ[0, :] = ""
    unknown = np.where(rng.random(board.s_MQ.shape) < 0.1, np.nan, board.s_MQ)
    board = replace(board, s_MQ=unknown, weights_MQ=(~np.isnan(unknown)).astype(float))
    who_Q = crossfitted(board, method)
    assert set(who_Q) <= {0, 1, 2}
    alike = replace(board, votes_MQ=np.full_like(board.votes_MQ, "same"), s_MQ=np.ones_like(board.s_MQ))
    assert alike.score(crossfitted(alike, method)) == 100


def test_names_are_unique() -> None:
    assert len({method.name for method in CANDIDATES}) == len(CANDIDATES)


def test_category_means_are_those_of_the_parts(specialists) -> None:
    found = by_category(specialists, 0)
    art = specialists.take(np.array([q for q, kind in enumerate(specialists.categories) if kind == "art"]))
    assert found["art"] * 100 == pytest.approx([art.score(art.alone(m)) for m in range(2)])


def test_calculations_in_a_text_are_checked() -> None:
    assert sums("16-3=13, so 13 * 2 = 26 and 3 + 4 = 8. Then $4 x 2 = $8; 10/4 = 2.5 and 1 + 2 + 3 = 6") == (4, 1)
    assert sums("nothing: 1/0 = 7") == (0, 1)


def test_an_empty_vote_stands_alone(make_board) -> None:
    board = make_board([[1], [1], [0], [0]])
    board.votes_MQ[2:, 0] = ""
    assert [one.members for one in candidates(board)] == [(0, 1), (2,), (3,)]


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(texts=st.lists(st.text(max_size=60), min_size=1, max_size=4))
def test_any_text_can_be_seen(make_board, texts: list[str]) -> None:
    board = make_board(np.zeros((len(texts), 1)))
    board.answers_MQ[:, 0] = texts
    for one in candidates(board):
        assert all(isinstance(token, str) for token in [*seen(board, one), *told(board, one)])
    assert list(contrast(board, 0, 0, len(texts) - 1))


def test_a_linear_model_of_tokens_learns_and_ignores_the_unknown() -> None:
    rows = [np.array([1, 2]), np.array([2, 3])] * 20
    model = linear.fit(rows, np.array([1.0, 0.0] * 20), np.ones(40), 1.0)
    value = model.value([np.array([1]), np.array([3]), np.array([99]), np.array([], dtype=np.int64)])
    assert value[0] > 0.5
    assert value[1] < -0.5
    assert value[2] == value[3] == model.bias
    assert linear.fit(rows, np.ones(40), np.ones(40), 1.0).value(rows).tolist() == [0.0] * 40
