"""Noise by place: the same everywhere and for ever, uniform, and independent between streams, places and seeds."""

from itertools import pairwise

import numpy as np
import pytest
from scipy import stats

from aiflow.collaboration.decoding import noise


def test_numbers_are_those_of_the_first_release() -> None:
    """Whatever numpy's generators become: other numbers would be other texts for the same seed."""
    pinned = {
        (0, 0, 0): [
            0.4297738372397952,
            0.7901427333451005,
            0.8304445617090288,
            0.3268727950217904,
            0.003978618391931976,
        ],
        (20_240_501, noise.own(1), 7): [
            0.8218524729134322,
            0.7261860494843468,
            0.34391164985737227,
            0.9889155129551293,
            0.04562978286088787,
        ],
        (2**64 - 1, noise.own(2, second=True), 10**6): [
            0.82985807012413,
            0.2599261011529535,
            0.9079664079975587,
            0.7778040415857905,
            0.0891079980613983,
        ],
    }
    for key, values in pinned.items():
        np.testing.assert_allclose(noise.uniforms(*key, count=5), values, rtol=0, atol=1e-15)
    np.testing.assert_allclose(
        noise.gumbel(42, 3, 4),
        [1.7642227452067727, 1.4581448721141994, -0.02313460805816694, 0.03493304009210218],
        rtol=0,
        atol=1e-13,
    )


def test_a_place_has_its_numbers_whatever_was_drawn_before() -> None:
    first = noise.uniforms(5, 1, 9, 8)
    noise.uniforms(5, 1, 8, 1000)
    np.random.default_rng(0).random(10)
    np.testing.assert_array_equal(noise.uniforms(5, 1, 9, 8), first)


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 63, 64, 65, 1000])
def test_a_smaller_vocabulary_has_the_first_values(size: int) -> None:
    np.testing.assert_array_equal(noise.gumbel(3, 11, size), noise.gumbel(3, 11, 1001)[:size])
    np.testing.assert_array_equal(noise.uniforms(3, 2, 11, size), noise.uniforms(3, 2, 11, 1001)[:size])


def test_gumbel_is_made_of_the_shared_stream() -> None:
    u = noise.uniforms(3, noise.SHARED, 11, 50)
    np.testing.assert_allclose(np.exp(-np.exp(-noise.gumbel(3, 11, 50))), u, atol=1e-12)


def test_no_two_tiers_have_a_stream_in_common() -> None:
    streams = [noise.SHARED, *(noise.own(tier, second=second) for tier in range(50) for second in (False, True))]
    assert len(set(streams)) == len(streams)


def test_numbers_are_uniform() -> None:
    u = noise.uniforms(1, 0, 0, 200_000)
    assert stats.kstest(u, "uniform").pvalue > 1e-4
    by_place = np.concatenate([noise.uniforms(1, 1, place) for place in range(5000)])
    assert stats.kstest(by_place, "uniform").pvalue > 1e-4
    by_seed = np.concatenate([noise.uniforms(seed, 1, 0) for seed in range(5000)])
    assert stats.kstest(by_seed, "uniform").pvalue > 1e-4


def test_streams_places_seeds_and_neighbours_are_independent() -> None:
    count = 20_000
    rows = {
        "plain": noise.uniforms(1, 1, 5, count),
        "stream": noise.uniforms(1, 2, 5, count),
        "shared": noise.uniforms(1, 0, 5, count),
        "place": noise.uniforms(1, 1, 6, count),
        "far place": noise.uniforms(1, 1, 5 + 2**32, count),
        "seed": noise.uniforms(2, 1, 5, count),
        "far seed": noise.uniforms(1 + 2**32, 1, 5, count),
        "swapped": noise.uniforms(1, 5, 1, count),
    }
    table = np.array([*rows.values(), np.roll(rows["plain"], 1), np.roll(rows["plain"], 4)])
    correlation = np.corrcoef(table) - np.eye(len(table))
    assert np.abs(correlation).max() < 4.5 / count**0.5
    assert len(np.unique(table[:-2])) == 8 * count  # no part of one is a part of another
    places = np.array([noise.uniforms(1, 1, place, 2) for place in range(4000)])
    for a, b in ((places[:, 0], places[:, 1]), *pairwise((places[:-2, 0], places[1:-1, 0], places[2:, 0]))):
        cells, *_ = np.histogram2d(a, b, bins=4, range=[[0, 1], [0, 1]])
        assert stats.chisquare(cells.ravel()).pvalue > 1e-4


@pytest.mark.parametrize("seed", range(3))
def test_the_largest_of_log_p_plus_gumbel_has_the_law_p(seed: int) -> None:
    p = np.random.default_rng(seed).dirichlet(np.full(7, 0.8))
    p[2] = 0
    p /= p.sum()
    with np.errstate(divide="ignore"):
        logp = np.log(p)
    said = [int(np.argmax(logp + noise.gumbel(seed, place, 7))) for place in range(12_000)]
    seen = np.bincount(said, minlength=7)
    assert seen[2] == 0
    keep = p * len(said) >= 5
    expected = p[keep] * len(said)
    assert stats.chisquare(seen[keep], expected * seen[keep].sum() / expected.sum()).pvalue > 1e-4


class _Bits:
    """Stands for Philox where its bits are all 0 or all 1."""

    def __init__(self, **_: object) -> None:
        pass

    def random_raw(self, count: int) -> np.ndarray:
        return np.resize(np.array([0, 2**64 - 1, 2**63, 2**63 - 1], dtype=np.uint64), count)


# With 53 bits, (2^53 - 1) + 0.5 would round to 2^53: the largest number would be 1.0 and its Gumbel noise infinite.
def test_numbers_lie_in_the_open_interval(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(np.random, "Philox", _Bits)
    low, high, *middle = noise.uniforms(0, 0, 0, 4)
    assert 0 < low < 2.0**-52
    assert middle == pytest.approx([0.5, 0.5], abs=1e-15)
    assert 1 - 2.0**-52 < high < 1
    assert np.isfinite(noise.gumbel(0, 0, 4)).all()
