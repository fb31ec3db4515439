"""The evaluator's hard negatives: the same two persons, out of place or out of time, and nothing else changed."""

import torch

from aiflow.diffusion.motion.evaluator import AHEAD, APART, MotionEvaluator, parted
from aiflow.diffusion.motion.features import POSITIONS

COUNT, FRAMES, THERE = 64, 32, 28


def scenes():
    u = torch.randn(COUNT, 2, FRAMES, 262, generator=torch.Generator().manual_seed(0))
    mask = torch.zeros(COUNT, FRAMES, dtype=torch.bool)
    mask[:, :THERE] = True
    return u * mask[:, None, :, None], mask


def test_persons_are_out_of_place_or_out_of_time():
    u, mask = scenes()
    v, left = parted(u, mask, torch.Generator().manual_seed(1))
    aside = left.sum(1) == THERE
    assert 16 < int(aside.sum()) < 48
    moved = (v - u)[aside]
    assert (moved[:, 0] == 0).all()
    places = moved[:, 1, :THERE, POSITIONS].unflatten(-1, (22, 3))
    far = places[..., [0, 2]].norm(dim=-1)
    assert (far > APART[0] - 1e-4).all()
    assert (far < APART[1] + 1e-4).all()
    assert (places - places[:, :1, :1]).abs().max() < 1e-5  # as a whole
    assert places[..., 1].abs().max() == 0
    assert moved[:, 1, :, POSITIONS.stop :].abs().max() == 0


def test_one_person_is_ahead_of_the_other():
    u, mask = scenes()
    v, left = parted(u, mask, torch.Generator().manual_seed(1))
    for row in torch.where(left.sum(1) < THERE)[0]:
        n = int(left[row].sum())
        lag = THERE - n
        assert AHEAD[0] <= lag < AHEAD[1]
        shifts = [next(s for s in (0, lag) if torch.equal(v[row, p, :n], u[row, p, s : s + n])) for p in (0, 1)]
        assert sorted(shifts) == [0, lag]
        assert v[row, :, n:].abs().max() == 0


def test_what_fits_no_caption_raises_the_loss_of_a_judge_that_cannot_tell():
    u, mask = scenes()
    torch.manual_seed(0)
    judge = MotionEvaluator(vocabulary=20)
    judge.set_statistics(torch.zeros(262), torch.ones(262))
    ids, words = torch.randint(20, (COUNT, 5)), torch.ones(COUNT, 5, dtype=torch.bool)
    plain = judge(u, mask, ids, words)
    assert judge(u, mask, ids, words, *parted(u, mask, torch.Generator())) > plain + 0.2
    assert judge(u, mask, ids, words, u[:0], mask[:0]) == plain
