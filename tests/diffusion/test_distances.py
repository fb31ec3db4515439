"""Distances: the published golden numbers, torchmetrics as an oracle, laws that hold for any features, bad input."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from aiflow.diffusion.distances import (
    Interval,
    diversity,
    frechet,
    frechet_of,
    mm_dist,
    multimodality,
    pairwise,
    polynomial_mmd,
    r_precision,
    replicate,
)
from aiflow.errors import InputError


@pytest.fixture
def golden():
    """The features behind the golden numbers: (X, Y) of 500 and (texts, motions) of 96."""
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((500, 32)), rng.standard_normal((500, 32)) * 1.2 + 0.3
    text = rng.standard_normal((96, 16))
    return x, y, text, text + 0.8 * rng.standard_normal((96, 16))


def features(seed, n, width=4, scale=1.0):
    return scale * np.random.default_rng(seed).standard_normal((n, width))


seeds = st.integers(0, 2**32 - 1)


# golden numbers and oracles


def test_frechet_and_kernel_distances_are_the_golden_numbers(golden):
    """torch-fidelity 0.4.0, which needs torchvision and is not in the tests' environment, gave these digits by hand."""
    x, y, *_ = golden
    assert frechet(x, y) == pytest.approx(5.3999262231807705, abs=1e-10)
    assert polynomial_mmd(x, y) == pytest.approx(0.328984066878534, abs=1e-12)


def test_retrieval_is_the_golden_numbers(golden):
    *_, text, motion = golden
    shares = r_precision(text, motion, pool=96, k=(1, 2, 3))
    assert shares == pytest.approx([0.8229166666666666, 0.9375, 0.9583333333333334], abs=1e-12)
    assert mm_dist(text, motion) == pytest.approx(3.17973956038, abs=1e-10)


class Identity(torch.nn.Module):
    """What torchmetrics takes for its image network: our features are its images."""

    num_features = 24

    def forward(self, x):
        return x


def torchmetrics_of(metric, x, y):
    metric.update(torch.from_numpy(x), real=True)
    metric.update(torch.from_numpy(y), real=False)
    return metric.compute()


@pytest.mark.parametrize("n", [400, 30], ids=["full rank", "almost as many samples as features"])
def test_frechet_equals_torchmetrics(n):
    from torchmetrics.image.fid import FrechetInceptionDistance

    x, y = features(1, n, 24), features(2, n + 7, 24, 1.5) + 0.2
    oracle = torchmetrics_of(FrechetInceptionDistance(feature=Identity()).set_dtype(torch.float64), x, y)
    assert frechet(x, y) == pytest.approx(float(oracle), abs=1e-6)


@pytest.mark.filterwarnings("ignore:Metric `Kernel Inception Distance` will save")
def test_kernel_distance_equals_torchmetrics():
    from torchmetrics.image.kid import KernelInceptionDistance

    x, y = features(1, 300, 24), features(2, 300, 24, 1.5) + 0.2
    kid = KernelInceptionDistance(feature=Identity(), subsets=1, subset_size=300).set_dtype(torch.float64)
    assert polynomial_mmd(x, y) == pytest.approx(float(torchmetrics_of(kid, x, y)[0]), abs=1e-6)


# laws


@given(seeds, st.integers(2, 40), st.integers(1, 12))
@settings(max_examples=40, deadline=None)
def test_frechet_is_zero_for_equal_samples_of_any_rank_and_symmetric(seed, n, width):
    x, y = features(seed, n, width), features(seed + 1, n + 3, width, 2.0)
    assert frechet(x, x[::-1]) == pytest.approx(0, abs=1e-11)
    assert frechet(x, y) == pytest.approx(frechet(y, x), rel=1e-9)
    statistics = [part for a in (x, y) for part in (a.mean(axis=0), np.cov(a.T).reshape(width, width))]
    assert frechet_of(*statistics) == pytest.approx(frechet(x, y), rel=1e-6, abs=1e-6)


def test_frechet_of_a_shift_is_its_square_and_scales_with_the_square():
    x, shift = features(0, 50), np.array([3, 0, 4, 0])
    assert frechet(x, x + shift) == pytest.approx(25, rel=1e-12)
    assert frechet(x, x + shift, scale=6) == pytest.approx(36 * 25, rel=1e-12)
    assert frechet(x, 3 * x) == pytest.approx(4 * (np.trace(np.cov(x.T)) + (x.mean(axis=0) ** 2).sum()), rel=1e-12)


def test_covariances_are_over_n_minus_1():
    """Of the pairs {0, 2} and {0, 4}: means 1 and 2, variances 2 and 8."""
    assert frechet([[0], [2]], [[0], [4]]) == pytest.approx(1 + (8**0.5 - 2**0.5) ** 2, rel=1e-12)


def test_kernel_distance_by_hand_and_in_blocks(monkeypatch):
    """One feature, samples {0, 1} and {1, 2}: (1 - 2 * (1 + 1 + 8 + 27) / 4 + 27)."""
    assert polynomial_mmd([[0], [1]], [[1], [2]]) == pytest.approx(1 + 27 - 2 * 37 / 4, rel=1e-12)
    x, y = features(3, 50), features(4, 41) + 1
    whole = polynomial_mmd(x, y)
    monkeypatch.setattr("aiflow.diffusion.distances.BLOCK", 7)
    assert polynomial_mmd(x, y) == pytest.approx(whole, rel=1e-12)


def test_kernel_distance_is_unbiased():
    """The mean over draws of one law is 0 within four standard errors; the biased form would be far above."""
    draws = [polynomial_mmd(features(2 * i, 20), features(2 * i + 1, 20)) for i in range(300)]
    assert abs(np.mean(draws)) < 4 * np.std(draws) / 300**0.5
    assert min(draws) < 0


@given(seeds, st.integers(1, 30), st.integers(1, 30), st.floats(-1e3, 1e3))
@settings(max_examples=40, deadline=None)
def test_pairwise_is_the_norm_of_the_differences(seed, n, m, shift):
    x, y = features(seed, n) + shift, features(seed + 1, m) + shift
    assert pairwise(x, y) == pytest.approx(np.linalg.norm(x[:, None] - y[None], axis=2), abs=1e-6)


@given(seeds, st.integers(2, 40))
@settings(max_examples=40, deadline=None)
def test_r_precision_is_the_rank_of_the_own_motion(seed, n):
    text, motion = features(seed, n), features(seed, n) + features(seed + 1, n)
    ranks = [sorted(range(n), key=lambda j: np.linalg.norm(text[i] - motion[j])).index(i) + 1 for i in range(n)]
    k = (1, (n + 1) // 2, n)
    assert r_precision(text, motion, pool=n, k=k) == pytest.approx([np.mean(np.array(ranks) <= cut) for cut in k])


def test_r_precision_ranks_motions_for_a_text_and_not_texts_for_a_motion():
    text, motion = [[0.0], [10.0], [11.0]], [[1.0], [10.6], [2.0]]
    assert r_precision(text, motion, pool=3, k=(1, 2)) == pytest.approx([2 / 3, 1])
    assert r_precision(motion, text, pool=3, k=(1, 2)) == pytest.approx([1 / 3, 2 / 3])


def test_r_precision_of_collapsed_features_is_chance():
    same = np.full((64, 8), 0.3)
    assert r_precision(features(0, 64, 8), same, pool=32, k=(1, 2, 3)) == pytest.approx([1 / 32, 2 / 32, 3 / 32])


def test_pools_follow_the_order_and_the_last_one_is_dropped():
    """Pairs 2k and 2k + 1 have swapped motions: a pool of two such is all wrong, of two strangers all right."""
    text = np.arange(8.0)[:, None] * [1, 10]
    motion = text[[1, 0, 3, 2, 5, 4, 7, 6]]
    assert r_precision(text, motion, pool=2, k=(1,), order=range(8)) == [0]
    assert r_precision(text, motion, pool=2, k=(1,), order=[0, 2, 4, 6, 1, 3, 5, 7]) > 0
    motion[4:] = text[4:]
    assert r_precision(text, motion, pool=3, k=(1,), order=[4, 5, 6, 7, 2, 3, 0, 1]) == pytest.approx(4 / 6)
    assert np.array_equal(r_precision(text, motion, pool=3, seed=5), r_precision(text, motion, pool=3, seed=5))


def test_diversity_halves_scales_and_repeats():
    x = features(0, 200)
    plain = diversity(x, pairs=100, seed=3)
    assert diversity(x, pairs=100, seed=3, halve=True, scale=6) == pytest.approx(3 * plain)
    assert diversity(x, pairs=100, seed=4) != plain
    assert diversity(np.ones((11, 2)), pairs=10) == 0
    assert diversity([[0.0], [1.0]], pairs=1) in (0, 1)


def test_multimodality_is_within_a_text():
    """Two far texts of equal samples each have none; the distance of two samples is that of the text."""
    assert multimodality(np.stack([np.zeros((11, 3)), np.full((11, 3), 1e6)])) == 0
    cloud = features(0, 4000, 3).reshape(4, 1000, 3)
    assert multimodality(cloud, pairs=500) == pytest.approx(multimodality(cloud, pairs=500, seed=1), rel=0.05)
    assert multimodality(5 * cloud, pairs=500) == pytest.approx(5 * multimodality(cloud, pairs=500))


def test_replications_give_the_mean_and_its_interval():
    seen = replicate(lambda seed: {"a": float(seed), "b": 1.0}, n=4, seed=10)
    assert seen == {
        "a": Interval(mean=11.5, half=pytest.approx(1.96 * (5 / 3) ** 0.5 / 2)),
        "b": Interval(mean=1, half=0),
    }


# bad input

LIST = [[0.0, 1.0], [1.0, 0.0], [0.5, 0.5]]
NAN = [[0.0, np.nan], [1.0, 0.0], [0.5, 0.5]]


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: frechet(LIST[:1], LIST), "at least 2 samples"),
        (lambda: frechet(LIST, NAN), "1 of 6 values are not finite"),
        (lambda: frechet(LIST, [[1.0], [2.0]]), "widths 2 and 1"),
        (lambda: frechet([1.0, 2.0], LIST), "2 axes"),
        (lambda: frechet([[1.0], [1.0, 2.0]], LIST), "one array"),
        (lambda: frechet(torch.zeros(3, 2, dtype=torch.bfloat16), LIST), "one array"),
        (lambda: frechet(np.zeros((3, 0)), np.zeros((3, 0))), "1 feature"),
        (lambda: frechet_of([0.0], [[1.0]], [0.0, 1.0], [[1.0]]), "shapes"),
        (lambda: frechet_of([0.0], [[-1.0]], [0.0], [[1.0]]), "negative eigenvalues"),
        (lambda: frechet_of([0, 0], [[1, 2], [0, 1]], [0, 0], np.eye(2)), "symmetric"),
        (lambda: polynomial_mmd(LIST, LIST[:1]), "at least 2 samples"),
        (lambda: polynomial_mmd(LIST, NAN), "not finite"),
        (lambda: pairwise([], LIST), "2 axes"),
        (lambda: r_precision(LIST, LIST, pool=96), "96 .* 3 pairs"),
        (lambda: r_precision(LIST, LIST, pool=2, k=(3,)), "k of"),
        (lambda: r_precision(LIST, LIST[:2], pool=2), "3 texts and 2 motions"),
        (lambda: r_precision(LIST, LIST, pool=2, k=(1,), order=[0, 0, 1]), "once"),
        (lambda: mm_dist(LIST, NAN), "not finite"),
        (lambda: diversity(LIST, pairs=3), "more samples than pairs"),
        (lambda: multimodality([LIST], pairs=3), "lower pairs"),
        (lambda: multimodality(LIST), "3 axes"),
        (lambda: replicate(lambda _: {"a": 0.0}, n=1), "n=1"),
        (lambda: replicate(lambda seed: {str(seed): 0.0}), "same names"),
        (lambda: replicate(lambda _: {"fid": np.nan}), "fid"),
    ],
)
def test_bad_input_is_a_typed_error_that_names_it(call, says):
    with pytest.raises(InputError, match=says):
        call()
