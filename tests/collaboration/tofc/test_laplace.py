"""Costs and tables of the Laplace distribution against integration, known entropies and each other."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy.integrate import quad

from aiflow.collaboration.tofc import laplace
from aiflow.collaboration.tofc.laplace import COUNT, PARTS, PRECISION, SCALES, TABLES

ENTROPIES = {0.1: 0.0650, 0.25: 0.7254, 0.5: 1.5602, 1: 2.4841, 2: 3.4552, 4: 4.4461, 8: 5.4436}
HALFWAY = {0.1: 1.0007, 0.25: 1.1343, 0.5: 1.6614, 1: 2.5013}


def masses(scale, mean=0.0):
    reach = laplace.support(scale)
    k = torch.arange(-reach, reach + 1, dtype=torch.float64) - mean
    return laplace.mass(k, torch.tensor(scale, dtype=torch.float64))


@pytest.mark.parametrize("scale", [0.05, 0.3, 1.0, 7.5, 64.0])
@pytest.mark.parametrize("mean", [0.0, 0.2, 0.5])
def test_masses_are_probabilities(scale, mean):
    p = masses(scale, mean)
    assert (p >= 0).all()
    assert float(p.sum()) == pytest.approx(1, abs=2**-20)
    if not mean:
        assert torch.equal(p, p.flip(0))


@pytest.mark.parametrize("scale", [0.05, 0.7, 20.0])
@pytest.mark.parametrize("k", [0.0, 0.3, -0.5, 0.9, -4.0, 7.25])
def test_masses_are_integrals_of_the_density(scale, k):
    edges = sorted({k - 0.5, *([0.0] if abs(k) < 0.5 else []), k + 0.5})
    parts = [
        quad(lambda x: math.exp(-abs(x) / scale) / (2 * scale), a, b, epsabs=1e-14, epsrel=1e-13)[0]
        for a, b in pairwise(edges)
    ]
    found = float(laplace.mass(torch.tensor(k, dtype=torch.float64), torch.tensor(scale, dtype=torch.float64)))
    assert found == pytest.approx(sum(parts), abs=1e-12)


@pytest.mark.parametrize(("table", "mean"), [(ENTROPIES, 0.0), (HALFWAY, 0.5)])
def test_entropies_are_those_known(table, mean):
    for scale, bits in table.items():
        p = masses(scale, mean)
        assert float(torch.special.entr(p).sum()) / math.log(2) == pytest.approx(bits, abs=1e-3)


def test_bits_are_the_logarithm_of_the_mass_with_a_gradient_everywhere():
    k = torch.linspace(-200, 200, 801)[:, None].repeat(1, 40).requires_grad_()
    scale = torch.logspace(math.log10(0.05), math.log10(64), 40).repeat(801, 1).requires_grad_()
    cost = laplace.bits(k, scale)
    cost.sum().backward()
    assert cost.isfinite().all()
    assert k.grad.isfinite().all()
    assert scale.grad.isfinite().all()
    p = laplace.mass(k.detach().double(), scale.detach().double())
    seen = p > 1e-200
    torch.testing.assert_close(cost.detach().double()[seen], -p[seen].log2(), rtol=1e-4, atol=1e-4)
    # The negative control: through the mass itself, improbable values have no cost and no gradient.
    plain = -laplace.mass(k, scale).log2()
    assert not plain.isfinite().all()


def test_tables_are_whole_shares_near_the_masses():
    for number in range(0, TABLES, 7):
        scale, mean = SCALES[number // PARTS], (number % PARTS - PARTS // 2) / PARTS
        counts, p = laplace.numbered(number), masses(scale, mean).numpy()
        assert counts.sum() == 2**PRECISION
        assert counts.min() >= 1
        assert np.abs(counts / 2**PRECISION - p).max() < 3 * len(p) / 2**PRECISION
        cost = -(p * np.log2(counts / 2**PRECISION)).sum()
        assert cost <= -(p[p > 0] * np.log2(p[p > 0])).sum() * 1.0005 + 1e-4


def test_tables_without_a_mean_are_symmetric_and_means_mirror():
    for index in range(COUNT):
        centred = laplace.table(SCALES[index])
        assert np.array_equal(centred, centred[::-1])
        assert np.array_equal(centred, laplace.numbered(int(laplace.centred(np.array(index)))))
        up, down = laplace.table(SCALES[index], 0.25), laplace.table(SCALES[index], -0.25)
        assert np.array_equal(up, down[::-1])


def test_what_a_table_leaves_out_is_below_its_precision():
    for scale in SCALES:
        assert 0.5 * math.exp(-(laplace.support(scale) + 0.5) / scale) < 2.0**-PRECISION


def test_the_nearest_scale_is_nearest_in_logarithms():
    scale = np.exp(np.random.default_rng(0).uniform(math.log(0.01), math.log(300), 5000))
    distance = np.abs(np.log(np.array(SCALES))[:, None] - np.log(scale))
    assert np.array_equal(laplace.nearest(scale), distance.argmin(0))


def test_a_distribution_with_a_mean_is_a_whole_number_and_a_table():
    mean, scale = np.array([0.0, 0.24, -0.26, 0.5, -3.49, 1e12]), np.array([1.0, 1.0, 0.01, 2.0, 1e9, 1.0])
    whole, table = laplace.shifted(mean, scale)
    rest = (table % PARTS - PARTS // 2) / PARTS
    assert np.abs(rest).max() <= 0.5
    assert np.abs(whole + rest - mean)[:5].max() <= 1 / (2 * PARTS)
    assert np.array_equal(table // PARTS, laplace.nearest(scale))
