"""Facts 21 to 25, 27 (factors) and 28: whitened SVD against brute force, in float64."""

import logging
from itertools import pairwise

import pytest
import torch

from aiflow.collaboration.familial.factor import Gram, Refit, components, factor, plain, whiten
from aiflow.collaboration.familial.factor import _root as root
from aiflow.errors import InputError

SHAPES = [(24, 16), (8, 32), (32, 8), (4, 24)]  # the last two: grouped keys and values


def draw(m, n, tokens=200, seed=0):
    """A weight and correlated inputs (condition of the Gram matrix about 1e4)."""
    g = torch.Generator().manual_seed(seed)
    x_TN = torch.randn(tokens, n, generator=g, dtype=torch.float64) * torch.logspace(0, -2, n, dtype=torch.float64)
    mix_NN = torch.linalg.qr(torch.randn(n, n, generator=g, dtype=torch.float64)).Q
    return torch.randn(m, n, generator=g, dtype=torch.float64), x_TN @ mix_NN


def gram_of(x_TN):
    gram = Gram(x_TN.shape[1])
    gram.add(x_TN)
    return gram


def error(w_MN, approx_MN, x_TN):
    return float((x_TN @ (w_MN - approx_MN).T).square().sum())


@pytest.mark.parametrize(("m", "n"), SHAPES)
@pytest.mark.parametrize("tokens", [200, 5])
def test_the_loss_is_the_tail_of_the_spectrum(m, n, tokens):
    w_MN, x_TN = draw(m, n, tokens)
    whitening = whiten(gram_of(x_TN))
    assert whitening.method == ("cholesky" if tokens == 200 else "eigen")
    whole = factor(w_MN, whitening)
    total = error(w_MN, torch.zeros_like(w_MN), x_TN)
    assert whole.loss(0) == pytest.approx(total, rel=1e-10)
    losses = []
    for h in range(1, min(m, n) + 1):
        losses.append(error(w_MN, whole.first(h).product(), x_TN))
        assert losses[-1] == pytest.approx(whole.loss(h), rel=1e-10, abs=1e-14 * total)
    assert all(b <= a + 1e-14 * total for a, b in pairwise(losses))
    assert losses[-1] < 1e-20 * total
    if tokens == 200:
        assert torch.allclose(whole.product(), w_MN, atol=1e-10)


@pytest.mark.parametrize(("m", "n"), SHAPES)
def test_both_roots_give_the_singular_values_of_the_outputs(m, n):
    w_MN, x_TN = draw(m, n)
    gram = gram_of(x_TN)
    by_cholesky = factor(w_MN, whiten(gram), 3)
    # a rank-deficient twin with one more, dead input goes the other way
    w_MP, x_TP = torch.nn.functional.pad(w_MN, (0, 1)), torch.nn.functional.pad(x_TN, (0, 1))
    whitening = whiten(gram_of(x_TP))
    by_eigen = factor(w_MP, whitening, 3)
    assert whitening.method == "eigen"
    truth_R = torch.linalg.svdvals(w_MN @ x_TN.T)[: min(m, n)]
    for factors in (by_cholesky, by_eigen):
        sigma_R = factors.sigma_R[: len(truth_R)]
        assert ((sigma_R - truth_R).abs().max() / truth_R[0]).item() < 1e-12
    assert torch.allclose(by_eigen.product()[:, :n], by_cholesky.product(), atol=1e-10)
    for w in (whitening, whiten(gram), plain(n)):
        assert torch.allclose(w.pinv_KN @ w.s_NK, torch.eye(w.s_NK.shape[1], dtype=torch.float64), atol=1e-10)


def test_a_singular_gram_matrix_is_never_jittered(caplog):
    w_MN, x_TN = draw(12, 64, tokens=20)
    gram = gram_of(x_TN)
    before_NN = gram.matrix_NN.clone()
    with caplog.at_level(logging.WARNING, logger="aiflow.familial"):
        whitening = whiten(gram)
    assert whitening.method == "eigen"
    assert "rank 20 of 64" in caplog.text
    assert torch.equal(gram.matrix_NN, before_NN)
    exact = error(w_MN, factor(w_MN, whitening, 6).product(), x_TN)
    # control: the jitter of the released code is of another scale than these inputs and costs accuracy
    small_TN = x_TN * 1e-4
    jittered = root(small_TN.T @ small_TN + 1e-6 * torch.eye(64, dtype=torch.float64), 1e-14)
    assert jittered.method == "cholesky"
    assert error(w_MN, factor(w_MN, jittered, 6).product(), x_TN) > 1.01 * exact


def test_a_pivot_of_rounding_error_is_no_cholesky_factor():
    """A failing Cholesky may pass by luck: here all pivots come out positive, one of them noise."""
    gram_NN = torch.diag(torch.tensor([1.0, 1.0, 1e-18], dtype=torch.float64))
    assert int(torch.linalg.cholesky_ex(gram_NN).info) == 0
    assert root(gram_NN, 3 * 2.2e-16).method == "eigen"


@pytest.mark.parametrize(("m", "n"), [(24, 16), (8, 32)])
def test_no_other_matrix_of_that_rank_has_less_loss(m, n):
    w_MN, x_TN = draw(m, n)
    h = 4
    best = factor(w_MN, whiten(gram_of(x_TN)), h)
    assert error(w_MN, factor(w_MN, plain(n), h).product(), x_TN) > 1.05 * best.loss()
    g = torch.Generator().manual_seed(1)
    for _ in range(100):
        v_HN = torch.randn(h, n, generator=g, dtype=torch.float64)
        for _ in range(3):  # alternating least squares from a random start
            z_TH = x_TN @ v_HN.T
            u_HM = torch.linalg.lstsq(z_TH, x_TN @ w_MN.T).solution
            assert error(w_MN, u_HM.T @ v_HN, x_TN) >= best.loss() * (1 - 1e-10)
            v_HN = torch.linalg.lstsq(u_HM.T, w_MN).solution


def test_plain_svd_is_eckart_young_on_the_weight():
    w_MN, _ = draw(12, 20)
    factors = factor(w_MN, plain(20), 5)
    assert float((w_MN - factors.product()).square().sum()) == pytest.approx(factors.loss(), rel=1e-12)


def test_the_gram_matrix_does_not_depend_on_the_batches():
    _, x_TN = draw(4, 12, tokens=90)
    x_TN = x_TN * torch.logspace(3, -3, 90, dtype=torch.float64)[:, None]
    for cuts in ([90], [1] * 90, [7, 50, 33]):
        gram = Gram(12)
        for part in x_TN.split(cuts):
            gram.add(part)
        assert gram.tokens == 90
        assert (gram.matrix_NN - x_TN.T @ x_TN).abs().max() < 1e-10 * gram.matrix_NN.abs().max()


def test_padding_is_left_out_even_if_it_is_not_a_number():
    _, x_TN = draw(4, 12, tokens=20)
    mask_T = torch.arange(20) % 3 > 0
    gram, padded = Gram(12), Gram(12)
    gram.add(x_TN[mask_T])
    padded.add(x_TN.masked_fill(~mask_T[:, None], torch.nan).view(4, 5, 12), mask_T.long().view(4, 5))
    assert (padded.tokens, torch.equal(padded.matrix_NN, gram.matrix_NN)) == (13, True)
    assert not torch.allclose(gram_of(x_TN).matrix_NN, gram.matrix_NN)


def test_padding_only_is_refused():
    gram = Gram(3)
    gram.add(torch.ones(5, 3), torch.zeros(5))
    with pytest.raises(InputError, match="no calibration token"):
        whiten(gram)


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_values_that_are_not_finite_are_refused(bad):
    gram = gram_of(torch.ones(2, 3))
    x_TN = torch.ones(2, 3)
    x_TN[1, 1] = bad
    for refused in (x_TN, torch.full((2, 3), 1e200, dtype=torch.float64), torch.ones(2, 4), torch.ones(2, 3).long()):
        with pytest.raises(InputError):
            gram.add(refused)
        assert (gram.tokens, bool((gram.matrix_NN == 2).all())) == (2, True)
    with pytest.raises(InputError, match="not finite"):
        factor(x_TN, plain(3))
    with pytest.raises(InputError, match="mask"):
        gram.add(torch.ones(2, 3), torch.ones(3))


def test_products_in_float32_are_close_and_float64_inputs_stay_exact():
    w_MN, x_TN = draw(16, 24)
    exact = factor(w_MN, whiten(gram_of(x_TN))).sigma_R
    for x, tolerance in ((x_TN.float(), 1e-6), (x_TN, 1e-13)):
        gram = Gram(24, dtype=torch.float32)
        gram.add(x)
        assert ((factor(w_MN, whiten(gram)).sigma_R - exact).abs() / exact[0]).max() < tolerance
    with pytest.raises(InputError, match="bfloat16"):
        Gram(3, dtype=torch.bfloat16)


@pytest.mark.parametrize("tokens", [200, 9])
def test_a_smaller_rank_is_a_prefix_bit_for_bit(tokens):
    w_MN, x_TN = draw(24, 16, tokens)
    whitening = whiten(gram_of(x_TN))
    whole = factor(w_MN, whitening)
    for h in range(1, 17):
        small, cut = factor(w_MN, whitening, h), whole.first(h)
        assert torch.equal(small.u_HM, cut.u_HM)
        assert torch.equal(small.v_HN, cut.v_HN)
        assert torch.equal(small.sigma_R, cut.sigma_R)
    assert whole.first(3).u_HM.data_ptr() == whole.u_HM.data_ptr()
    assert whole.to(torch.bfloat16).u_HM.dtype == torch.bfloat16
    for h in (0, 17):
        with pytest.raises(InputError, match=f"rank {h}"):
            factor(w_MN, whitening, h)
        with pytest.raises(InputError, match=f"rank {h}"):
            whole.first(h)


def test_zero_weights_and_dead_inputs_give_finite_factors():
    dead = whiten(gram_of(torch.zeros(4, 6)))
    for weight, whitening in ((torch.zeros(5, 6), plain(6)), (torch.ones(5, 6), plain(6)), (torch.ones(5, 6), dead)):
        factors = factor(weight, whitening)
        assert bool(factors.u_HM.isfinite().all() and factors.v_HN.isfinite().all())
        assert torch.allclose(factors.product(), weight.double(), atol=1e-12)
    assert factors.sigma_R.tolist() == [0.0] * 5


@pytest.mark.parametrize("tokens", [200, 7])
def test_untrained_components_are_the_slices_of_one_svd(tokens):
    w_MN, x_TN = draw(24, 16, tokens)
    whitening = whiten(gram_of(x_TN))
    parts = components(w_MN, whitening, 3, 4)
    left_MN, before = w_MN, float("inf")
    for part in parts:  # the definition: the whitened SVD of what the former components leave
        defined = factor(left_MN, whitening, 3)
        assert torch.allclose(x_TN @ part.product().T, x_TN @ defined.product().T, atol=1e-10)
        assert torch.allclose(part.sigma_R, defined.sigma_R, atol=1e-10)
        left_MN = left_MN - part.product()
        now = error(left_MN, torch.zeros_like(left_MN), x_TN)
        assert now == pytest.approx(part.loss(), rel=1e-10, abs=1e-20)
        assert now <= before
        before = now
    assert torch.allclose(w_MN - left_MN, factor(w_MN, whitening, 12).product(), atol=1e-10)
    if tokens == 200:
        for i, a in enumerate(parts):
            for b in parts[i + 1 :]:
                assert (a.u_HM @ b.u_HM.T).abs().max() < 1e-10
                assert (whitening.whiten(a.v_HN) @ whitening.whiten(b.v_HN).T).abs().max() < 1e-10
    with pytest.raises(InputError, match="rank 18"):
        components(w_MN, whitening, 3, 6)


def test_refit_is_least_squares_and_repairs_shifted_inputs():
    w_MN, x_TN = draw(10, 16)
    y_TM = x_TN @ w_MN.T
    shifted_TN = x_TN + 0.5 * draw(10, 16, seed=3)[1]  # what compressed blocks hand on
    factors = factor(w_MN, whiten(gram_of(x_TN)), 5)
    refit = Refit(16, 10)
    for x, y in zip(shifted_TN.split(90), y_TM.split(90), strict=True):
        refit.add(x, y)
    u_HM = refit.solve(factors.v_HN)
    z_TH = shifted_TN @ factors.v_HN.T
    assert torch.allclose(u_HM, torch.linalg.lstsq(z_TH, y_TM).solution, atol=1e-8)
    assert (z_TH @ u_HM - y_TM).square().sum() < 0.99 * (z_TH @ factors.u_HM - y_TM).square().sum()
    assert refit.solve(factors.v_HN, ridge=1.0).norm() < u_HM.norm()
    twice_HN = torch.cat([factors.v_HN, factors.v_HN])  # no unique optimum: the smallest is both halves alike
    assert torch.allclose(refit.solve(twice_HN), torch.cat([u_HM, u_HM]) / 2, atol=1e-8)
    with pytest.raises(InputError, match="ridge=-1"):
        refit.solve(factors.v_HN, ridge=-1)
    with pytest.raises(InputError, match="do not pair"):
        refit.add(x_TN, y_TM[:-1])


def test_refit_on_the_same_inputs_changes_nothing():
    w_MN, x_TN = draw(10, 16)
    factors = factor(w_MN, whiten(gram_of(x_TN)), 5)
    refit = Refit(16, 10)
    refit.add(x_TN, x_TN @ w_MN.T)
    assert torch.allclose(refit.solve(factors.v_HN), factors.u_HM, atol=1e-9)
