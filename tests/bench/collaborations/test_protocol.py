"""Found on one half, reported on the other: what must win, what must not, and what is told of it."""

import json
from dataclasses import replace

import numpy as np
import pytest
from rich.console import Console

from aiflow.bench.collaborations import boards, measure, subsets
from aiflow.bench.collaborations.methods import ByCategory, Ranker, Single, Vote
from aiflow.bench.collaborations.protocol import again, choose, find
from aiflow.bench.collaborations.show import show
from aiflow.bench.views import as_json
from aiflow.errors import DataError

FEW = (Single(), ByCategory(10), Vote(), Ranker(0.1))


def test_specialists_win_in_both_directions(specialists) -> None:
    found = find(specialists, FEW)
    assert found.verdict == "won"
    assert found.hindsight.p < 0.001
    assert found.score.value == pytest.approx(found.hindsight.score + found.hindsight.difference.value)
    assert all(one.hindsight.difference.value > 0 for one in found.directions)
    assert found.oracle >= found.score.value > max(found.members.values())
    assert set(found.directions[0].tried) == {method.name for method in FEW}
    robust = again(specialists, found.directions[0].method, range(1, 6))
    assert robust["splits"] == robust["ahead"] == 5


def test_equal_members_do_not_win(make_board) -> None:
    verdicts = []
    for seed in range(30):
        right = np.random.default_rng(seed).random((2, 120)) < 0.6
        verdicts.append(find(make_board(right, np.arange(120) % 4), FEW).verdict)
    assert verdicts.count("won") <= 2  # 2.5 % of 30 are to be expected at most, since the bar is set in hindsight


def test_scores_of_the_other_half_are_not_looked_at(specialists) -> None:
    half_Q = specialists.half(0)
    found = find(specialists, FEW)
    turned = np.where(half_Q == 1, 1 - specialists.s_MQ, specialists.s_MQ)
    other = find(replace(specialists, s_MQ=turned), FEW)
    assert found.directions[0].method == other.directions[0].method
    assert found.directions[0].tried == other.directions[0].tried
    assert found.who_Q[half_Q == 1].tolist() == other.who_Q[half_Q == 1].tolist()


def test_without_a_gain_the_best_single_member_is_kept(make_board) -> None:
    board = make_board([[1] * 60, [0] * 60])
    method, tried = choose(board, FEW)
    assert isinstance(method, Single)
    assert tried["best single"] == 100
    found = find(board, FEW)
    assert found.verdict == "tied"
    assert found.hindsight.p == 1


def test_boards_that_cannot_be_halved_are_refused(make_board) -> None:
    with pytest.raises(DataError, match="10 questions"):
        find(make_board(np.ones((2, 10))))
    with pytest.raises(DataError, match="1 members"):
        find(make_board(np.ones((1, 40))))


def test_the_measurement_is_json_and_a_table(specialists, monkeypatch, capsys) -> None:
    monkeypatch.setattr(boards, "load", lambda name, _: replace(specialists, name=name))
    monkeypatch.setattr(boards, "builders", lambda: {"one": None, "two": None})
    monkeypatch.setattr(measure, "find", lambda board, seed: find(board, FEW, seed))
    found = measure.measure(splits=2)
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert [row["board"] for row in found["rows"]] == ["one: 2 models", "two: 2 models"]
    assert found["summary"]["won"] == 2
    first = found["rows"][0]
    assert first["p_holm"] == pytest.approx(2 * first["p"])
    assert first["cost"]["best_single"] in (1, 2)
    assert first["without_vote"] == first["unknown"] == dict.fromkeys(specialists.members, 0)
    show(found, Console(width=200))
    assert "won: 2" in capsys.readouterr().out
    measure.main(suites=["one"], splits=0, json=True)
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["rows"][0]["robustness"] is None


def test_fewer_agents_and_each_left_out(make_board) -> None:
    board = make_board(np.random.default_rng(0).random((4, 200)) < 0.6)
    found = subsets.subsets(board, Vote())
    assert [size.agents for size in found.curve] == [1, 2, 3, 4]
    assert found.curve[-1].mean == found.curve[-1].score == found.row("all 4: plurality", "collaboration").score
    assert found.curve[0].mean.value == pytest.approx(board.s_MQ.mean() * 100)
    names = [part.name for part in found.ablation]
    assert names[:2] == ["all", f"w/o {board.members[0]}"]
    assert found.ablation[0].difference.value == 0
    assert found.ablation[-1].score.value == board.score(board.alone(3))
    json.dumps(as_json(found), allow_nan=False)
