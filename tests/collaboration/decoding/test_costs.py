"""The cost model against simulations that share no formula with it, and against the published figures (facts 8-12)."""

from collections.abc import Callable
from math import expm1, inf, log1p, nan
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiflow.collaboration.decoding import costs
from aiflow.collaboration.decoding.costs import Acceptance, Profile
from aiflow.errors import InputError

DEVICE, EDGE, CLOUD = 1 / 44.26, 1 / 32.07, 1 / 27.86
"""Seconds per token alone: AI Flow, Table I, MATH-500."""

BEST = {
    0.6: {0.05: (4, 1.92), 0.1: (3, 1.67), 0.2: (2, 1.40), 0.3: (1, 1.23)},
    0.7: {0.05: (6, 2.35), 0.1: (4, 1.98), 0.2: (3, 1.58), 0.3: (2, 1.37)},
    0.8: {0.05: (8, 3.09), 0.1: (6, 2.47), 0.2: (4, 1.87), 0.3: (3, 1.55)},
    0.9: {0.05: (13, 4.67), 0.1: (10, 3.43), 0.2: (7, 2.37), 0.3: (5, 1.87)},
}
"""Best draft length and its speed-up by alpha and c, without a link."""

GRID = [n / 20 for n in range(21)]

chance = st.integers(0, 100).map(lambda n: n / 100)
ratio = st.integers(0, 60).map(lambda n: n / 50)


def runs(rng: np.random.Generator, alpha: float, size: tuple[int, int]) -> Any:
    """How many of each row's proposals are accepted before the first rejection."""
    return np.cumprod(rng.random(size) < alpha, axis=1).sum(axis=1)


def pipeline(alpha: float, gamma: int, *, chains: int = 4000, steps: int = 300, warm: int = 100) -> float:
    """Mean tokens of a step of many parallel pipelines, coin by coin."""
    rng = np.random.default_rng(9)
    post, unjudged, tokens = np.zeros(chains, bool), np.zeros(chains, int), 0
    for step in range(warm + steps):
        accepted = runs(rng, alpha, (chains, gamma))
        full = np.where(post, accepted >= unjudged, accepted >= 1)
        said = np.where(post, np.where(full, unjudged, accepted + 1), 1)
        tokens += int(said.sum()) if step >= warm else 0
        unjudged = np.where(post, gamma, gamma - 1)
        post = full
    return tokens / chains / steps


def three_tiers(alphas: tuple[float, float], gammas: tuple[int, int], below: float, above: float, mode: str) -> float:
    """Seconds per token, round by round: ``below`` of a round of the lower two tiers, ``above`` of the cloud's.

    mode: what of the edge's last block lies beyond gamma2 is "cut", or is "sent" too; "steady": there is none, since
    the edge's tokens come one by one.
    """
    rng, rounds, (first, second) = np.random.default_rng(5), 20_000, gammas
    blocks = runs(rng, alphas[0], (rounds * second, first)) + 1
    accepted = runs(rng, alphas[1], (rounds, first + second + 1))
    lengths, token, seconds, tokens = iter(blocks.tolist()), below / float(blocks.mean()), 0.0, 0
    for count in accepted.tolist():
        buffer = second if mode == "steady" else 0
        seconds += above + buffer * token
        while buffer < second:
            seconds += below
            buffer += next(lengths)
        tokens += min(count, buffer if mode == "sent" else second) + 1
    return seconds / tokens


@pytest.mark.parametrize(("alpha", "gamma"), [(0.3, 2), (0.6, 3), (0.8, 4), (0.9, 8), (0.95, 20)])
def test_tokens_of_a_round_are_those_of_a_simulation(alpha: float, gamma: int) -> None:
    mean = float(runs(np.random.default_rng(8), alpha, (100_000, gamma)).mean()) + 1
    assert costs.tokens_per_round(alpha, gamma) == pytest.approx(mean, rel=0.01)


def test_tokens_of_a_round_at_its_limits() -> None:
    for gamma in range(65):
        assert costs.tokens_per_round(1.0, gamma) == gamma + 1
        assert costs.tokens_per_round(0.0, gamma) == 1
    for alpha in GRID:
        assert costs.tokens_per_round(alpha, 0) == 1
    for gap in (1e-12, 1e-6, 0.1, 0.5, 0.9):
        closed = -expm1(9 * log1p(-gap)) / gap
        assert costs.tokens_per_round(1 - gap, 8) == pytest.approx(closed, rel=1e-12 if gap > 1e-9 else 1e-4)


def test_acceptance_by_place() -> None:
    assert costs.tokens_of([]) == 1
    assert costs.tokens_of([0.5, 0.2, 1.0]) == pytest.approx(1 + 0.5 + 0.1 + 0.1)
    assert costs.tokens_of((0.7,) * 5) == pytest.approx((1 - 0.7**6) / 0.3)
    assert costs.tokens_of([0.9, 0.1]) > costs.tokens_of([0.1, 0.9])


@pytest.mark.parametrize(
    ("alpha", "gamma", "published"),
    [(0.6, 3, 1.333), (0.8, 4, 2.005), (0.9, 4, 2.626), (0.9, 8, 3.765), (0.5, 1, 0.8), (0.98, 16, None)],
)
def test_the_parallel_chain_is_that_of_a_simulation(alpha: float, gamma: int, published: float | None) -> None:
    tokens = costs.chained(alpha, gamma)
    assert tokens == pytest.approx(pipeline(alpha, gamma), rel=0.005)
    if published is not None:
        assert tokens == pytest.approx(published, abs=5.1e-4)


def test_the_parallel_chain_at_its_limits() -> None:
    for gamma in range(1, 65):
        assert costs.chained(1.0, gamma) == gamma
        assert costs.chained(1 - 1e-9, gamma) == pytest.approx(gamma, rel=1e-5)
        assert costs.chained(0.0, gamma) == 1


@pytest.mark.parametrize("draft", [0.01, 0.1, 0.7])
@pytest.mark.parametrize("link", [0.0, 0.3, 2.0])
def test_the_parallel_pipeline_is_never_faster_than_the_device(draft: float, link: float) -> None:
    profile = Profile(draft=draft, verify=1.0, per_row=0.02, up=link / 3, down=link * 2 / 3)
    for gamma in (1, 2, 4, 9, 30):
        step = max(gamma * draft, 1 + (gamma - 1) * 0.02 + link)
        assert costs.pearl(1.0, gamma, profile) == pytest.approx(step / gamma, rel=1e-12)
        for alpha in GRID:
            seconds = costs.pearl(alpha, gamma, profile)
            assert seconds >= draft * (1 - 1e-12)
            assert seconds >= step / gamma * (1 - 1e-12)
            assert seconds == pytest.approx(step / costs.chained(alpha, gamma))


def test_the_aligned_length() -> None:
    assert costs.aligned(Profile(draft=0.1, verify=1.0, up=0.2, down=0.3, per_row=9.0)) == 15
    assert costs.aligned(Profile(draft=5.0, verify=1.0)) == 1
    profile = Profile(draft=0.013, verify=0.1, up=0.02, down=0.01)
    seconds = [costs.pearl(1.0, gamma, profile) for gamma in range(1, 40)]
    assert min(seconds) == pytest.approx(0.013)
    assert costs.aligned(profile) == 10 == next(g for g, s in enumerate(seconds, 1) if s < 0.0131)


def test_one_round_by_hand() -> None:
    profile = Profile(draft=0.01, verify=0.1, per_row=0.002, up=0.03, down=0.02)
    assert costs.alone(profile) == 0.1
    assert costs.synchronous(0.5, 2, profile) == pytest.approx((0.02 + 0.03 + 0.104 + 0.02) / 1.75)
    assert costs.synchronous(0.5, 0, profile) == pytest.approx(0.15)
    assert costs.pearl(0.5, 3, profile) == pytest.approx(0.154 / costs.chained(0.5, 3))
    assert costs.one_way(0.05, 31, 500e3) == pytest.approx(0.025062)
    assert costs.one_way(0.05, 31, inf) == 0.025


def test_the_speed_up_is_the_ratio_of_times() -> None:
    profile = Profile(draft=0.02, verify=0.1, up=0.013, down=0.017)
    for gamma in range(20):
        times = costs.alone(profile) / costs.synchronous(0.8, gamma, profile)
        assert costs.speedup(0.8, gamma, 0.2, 0.3) == pytest.approx(times)


def test_the_published_optimum_of_the_case_study() -> None:
    quoted = {1: 1.547, 2: 1.833, 3: 1.966, 4: 2.007, 5: 1.993, 6: 1.949, 7: 1.887, 8: 1.816}
    quoted |= {12: 1.528, 16: 1.290, 20: 1.108, 22: 1.033}
    for gamma, value in quoted.items():
        assert costs.speedup(0.76, gamma, 0.1375) == pytest.approx(value, abs=5.1e-4)
    assert costs.speedup(0.76, 23, 0.1375) == pytest.approx(0.9996, abs=5.1e-5)
    assert costs.best_length(0.76, Profile(draft=0.1375, verify=1.0)) == 4
    with_link = [round(costs.speedup(0.75, gamma, 0.133, 0.075), 3) for gamma in (4, 21, 22)]
    assert with_link == [1.898, 1.032, 0.998]


@pytest.mark.parametrize("alpha", BEST)
@pytest.mark.parametrize("c", [0.05, 0.1, 0.2, 0.3])
def test_the_table_of_best_lengths(alpha: float, c: float) -> None:
    gamma, speedup = BEST[alpha][c]
    assert costs.best_length(alpha, Profile(draft=3 * c, verify=3.0)) == gamma
    assert costs.speedup(alpha, gamma, c) == pytest.approx(speedup, abs=0.00501)
    rule = next(g for g in range(64) if alpha ** (g + 1) * (1 + g * c) < c * costs.tokens_per_round(alpha, g))
    assert rule == gamma


@given(alpha=chance, better=chance, c=ratio, slower=ratio, r=ratio)
def test_the_best_length_grows_with_alpha_and_shrinks_with_c(
    alpha: float, better: float, c: float, slower: float, r: float
) -> None:
    (alpha, better), (c, slower) = sorted((alpha, better)), sorted((c, slower))
    length = costs.best_length(alpha, Profile(draft=c, verify=1.0, up=r))
    assert length <= costs.best_length(better, Profile(draft=c, verify=1.0, up=r))
    assert length >= costs.best_length(alpha, Profile(draft=slower, verify=1.0, up=r))


@given(alpha=chance, c=ratio, r=ratio, farther=ratio)
def test_the_best_length_grows_with_the_link_until_speculation_does_not_pay(
    alpha: float, c: float, r: float, farther: float
) -> None:
    r, farther = sorted((r, farther))
    near, far = (costs.best_length(alpha, Profile(draft=c, verify=1.0, down=x)) for x in (r, farther))
    assert near <= far or far == 0
    assert far == 0 or near > 0
    if near:
        most = max(costs.speedup(alpha, gamma, c, r) for gamma in range(65))
        assert costs.speedup(alpha, near, c, r) == pytest.approx(most, rel=1e-12)


@given(alpha=chance, c=ratio, r=ratio, row=ratio, most=st.integers(0, 30))
def test_no_length_is_faster_than_the_best(alpha: float, c: float, r: float, row: float, most: int) -> None:
    profile = Profile(draft=c, verify=1.0, per_row=row / 10, down=r)
    best = costs.best_length(alpha, profile, most)
    times = {0: costs.alone(profile)}
    times |= {gamma: costs.synchronous(alpha, gamma, profile) for gamma in range(1, most + 1)}
    assert all(times[best] < t if gamma < best else times[best] <= t for gamma, t in times.items())


def test_ties_go_to_the_shorter_draft() -> None:
    assert costs.best_length(0.5, Profile(draft=0.5, verify=1.0)) == 0
    assert costs.best_length(1.0, Profile(draft=1.0, verify=1.0)) == 0
    assert costs.best_length(0.0, Profile(draft=0.0, verify=1.0)) == 0
    assert costs.best_length(1.0, Profile(draft=0.5, verify=1.0), most=7) == 7
    assert costs.best_length(1.0, Profile(draft=0.5, verify=1.0), most=0) == 0


@pytest.mark.parametrize("c", [0.05, 0.1375, 0.3, 0.9])
@pytest.mark.parametrize("link", [0.0, 0.2, 1.5])
@pytest.mark.parametrize("most", [1, 4, 64])
def test_the_break_even_is_where_the_best_length_leaves_zero(c: float, link: float, most: int) -> None:
    profile = Profile(draft=c, verify=1.0, per_row=0.01, up=link)
    alpha = costs.break_even(most, profile)
    if alpha is None:
        assert costs.best_length(1.0, profile, most) == 0
        assert min(costs.synchronous(1.0, gamma, profile) for gamma in range(1, most + 1)) >= 1
        return
    assert costs.best_length(alpha, profile, most) > 0
    assert costs.best_length(alpha - 2e-12, profile, most) == 0
    assert alpha >= c
    if most == 1 or link == 0:
        assert alpha == pytest.approx(c + 0.01 + link, abs=1e-9)


def test_break_even_exists_where_it_should() -> None:
    assert costs.break_even(64, Profile(draft=1.0, verify=1.0)) is None
    assert costs.break_even(1, Profile(draft=0.5, verify=1.0, up=0.5)) is None
    assert costs.break_even(0, Profile(draft=0.1, verify=1.0)) is None
    assert costs.break_even(2, Profile(draft=0.5, verify=1.0, up=0.5)) == pytest.approx((7**0.5 - 1) / 2, abs=1e-9)


@pytest.mark.parametrize(
    ("alphas", "gammas"), [((0.8, 0.9), (4, 6)), ((0.6, 0.7), (2, 2)), ((0.9, 0.8), (8, 4)), ((0.7, 0.9), (1, 16))]
)
def test_nested_tiers_are_those_of_a_simulation(alphas: tuple[float, float], gammas: tuple[int, int]) -> None:
    lower = Profile(draft=0.1, verify=1.0, up=0.05, down=0.05)
    upper = Profile(draft=7.0, verify=2.0, per_row=0.01, up=0.1, down=0.2)
    seconds = costs.nested(alphas[1], gammas[1], costs.synchronous(alphas[0], gammas[0], lower), upper)

    def simulated(mode: str) -> float:
        return three_tiers(alphas, gammas, lower.round(gammas[0]), upper.judging(gammas[1]), mode)

    assert seconds == pytest.approx(simulated("steady"), rel=0.02)
    assert 1.015 < simulated("cut") / seconds < 1.4
    assert simulated("sent") < simulated("cut")


def test_nested_by_hand() -> None:
    assert costs.nested(0.5, 1, 0.2, Profile(draft=9.0, verify=0.3, per_row=0.1, up=0.4, down=0.5)) == pytest.approx(
        1.5 / 1.5
    )


def test_the_fit_of_table_one() -> None:
    two = Profile(draft=DEVICE, verify=EDGE)
    best = [1 / costs.synchronous(alpha, costs.best_length(alpha, two), two) for alpha in (0.9, 0.95)]
    assert best == pytest.approx([35.5, 37.5], abs=0.05)
    pair = costs.pearl(0.955, 2, two)
    assert 1 / pair == pytest.approx(39.9, abs=0.05)
    assert 1 / pair == pytest.approx(40.09, rel=0.005)
    trio = costs.pearl(0.95, 2, Profile(draft=pair, verify=CLOUD))
    assert 1 / trio == pytest.approx(35.6, abs=0.05)
    assert 1 / trio == pytest.approx(35.42, rel=0.006)


@pytest.mark.parametrize(("alpha", "turns", "parallel"), [(0.7, 1.47, 1.30), (0.9, 2.76, 3.09)])
def test_taking_turns_wins_at_low_acceptance_only(alpha: float, turns: float, parallel: float) -> None:
    profile = Profile(draft=0.1, verify=1.0, up=0.25, down=0.25)
    one = 1 / costs.synchronous(alpha, costs.best_length(alpha, profile), profile)
    other = 1 / costs.pearl(alpha, costs.aligned(profile), profile)
    assert (one, other) == pytest.approx((turns, parallel), abs=0.005)
    assert (one > other) == (alpha < 0.8)


@pytest.mark.parametrize(
    ("together", "server", "published"),
    [
        (40.09, 32.07, 1.250),
        (39.98, 35.42, 1.129),
        (49.34, 41.97, 1.176),
        (35.42, 27.86, 1.271),
        (33.98, 25.08, 1.355),
        (38.11, 36.31, 1.050),
    ],
)
def test_the_published_ratios(together: float, server: float, published: float) -> None:
    assert round(costs.alone(Profile(draft=0.0, verify=1 / server)) * together, 3) == published


def test_the_heuristic_schedule() -> None:
    lengths = [5]
    for all_accepted in (True, False, False, True):
        lengths.append(costs.heuristic(lengths[-1], all_accepted))
    assert lengths == [5, 7, 6, 5, 7]
    assert [costs.heuristic(gamma, False) for gamma in (3, 2, 1, 0)] == [2, 1, 1, 1]


def test_the_estimate_without_forgetting_is_the_share_of_accepted_tokens() -> None:
    acceptance = Acceptance(prior=0.7, weight=4.0, half_life=inf)
    assert acceptance.value == pytest.approx(0.7)
    for accepted, rejected in ((3, 1), (5, 0), (0, 1), (0, 0)):
        acceptance.add(accepted, rejected)
    assert acceptance.value == pytest.approx((2.8 + 8) / (4 + 10))


def test_the_estimate_forgets_by_half() -> None:
    acceptance = Acceptance(prior=1.0, weight=8.0, half_life=10.0)
    acceptance.add(5, 5)
    assert acceptance.value == pytest.approx((4 + 5) / (4 + 10))
    acceptance.add(0, 20)
    assert acceptance.value == pytest.approx((9 / 4) / (14 / 4 + 20))


def test_the_estimate_finds_alpha_where_accepted_per_draft_does_not() -> None:
    rng, gamma = np.random.default_rng(3), 5
    acceptance = Acceptance(half_life=5000.0)
    accepted = [*runs(rng, 0.9, (3000, gamma)).tolist(), *runs(rng, 0.6, (20_000, gamma)).tolist()]
    for count in accepted:
        acceptance.add(count, int(count < gamma))
    assert acceptance.value == pytest.approx(0.6, abs=0.015)
    assert np.mean(accepted[3000:]) / gamma < 0.3


ONE = Profile(draft=0.1, verify=1.0)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: costs.tokens_per_round(1.1, 0), "alpha=1.1 is not usable; give a probability, 0 to 1"),
        (lambda: costs.tokens_per_round(nan, 3), "alpha=nan"),
        (lambda: costs.tokens_per_round(0.5, -1), "gamma=-1 is not usable; give a draft length, finite and at least 0"),
        (lambda: costs.tokens_of([0.5, -0.1]), "alpha 2=-0.1"),
        (lambda: Profile(draft=-0.1, verify=1.0), "draft=-0.1 is not usable; give seconds"),
        (lambda: Profile(draft=0.1, verify=0.0), "verify=0.0"),
        (lambda: Profile(draft=0.1, verify=inf), "verify=inf"),
        (lambda: Profile(draft=0.1, verify=1.0, per_row=nan), "per_row=nan"),
        (lambda: Profile(draft=0.1, verify=1.0, up=-1.0), "up=-1.0"),
        (lambda: Profile(draft=0.1, verify=1.0, down=inf), "down=inf"),
        (lambda: costs.one_way(-1.0, 1, 1), "rtt=-1.0"),
        (lambda: costs.one_way(1.0, -1, 1), "size=-1"),
        (lambda: costs.one_way(1.0, 1, 0), "rate=0 is not usable; give bytes per second"),
        (lambda: costs.one_way(1.0, 1, nan), "rate=nan"),
        (lambda: costs.synchronous(2.0, 1, ONE), "alpha=2.0"),
        (lambda: costs.speedup(0.5, 1, -0.2), "c=-0.2"),
        (lambda: costs.speedup(0.5, 1, 0.2, inf), "r=inf"),
        (lambda: costs.best_length(-0.5, ONE), "alpha=-0.5"),
        (lambda: costs.best_length(0.5, ONE, -1), "most=-1"),
        (lambda: costs.break_even(-1, ONE), "most=-1"),
        (lambda: costs.chained(0.5, 0), "gamma=0 is not usable; give a draft length, finite and at least 1"),
        (lambda: costs.chained(1e300, 9), "alpha=1e"),
        (lambda: costs.pearl(0.5, 0, ONE), "gamma=0"),
        (lambda: costs.aligned(Profile(draft=0.0, verify=1.0)), "draft=0.0 is not usable; measure"),
        (lambda: costs.nested(0.5, 2, -1.0, ONE), "below=-1.0"),
        (lambda: costs.nested(1.5, 2, 1.0, ONE), "alpha=1.5"),
        (lambda: costs.heuristic(-1, True), "gamma=-1"),
        (lambda: Acceptance(prior=1.5), "prior=1.5"),
        (lambda: Acceptance(weight=0.0), "weight=0.0"),
        (lambda: Acceptance(weight=inf), "weight=inf"),
        (lambda: Acceptance(half_life=0.0), "half_life=0.0"),
        (lambda: Acceptance(half_life=nan), "half_life=nan"),
        (lambda: Acceptance().add(-1, 0), "accepted=-1"),
        (lambda: Acceptance().add(1, -1), "rejected=-1"),
    ],
)
def test_bad_input_is_named(call: Callable[[], object], message: str) -> None:
    with pytest.raises(InputError) as caught:
        call()
    assert message in str(caught.value)


def test_a_refused_count_leaves_the_estimate_as_it_was() -> None:
    acceptance = Acceptance()
    with pytest.raises(InputError):
        acceptance.add(7, -1)
    assert acceptance.value == pytest.approx(0.7)


@pytest.mark.parametrize("factor", [0.5, 2.0])
def test_states_pay_above_the_rate_at_which_both_rounds_take_equally_long(factor: float) -> None:
    profile, gamma, share, size = Profile(draft=0.01, verify=0.04, per_row=0.001), 4, 0.3, 8192
    rate = factor * costs.states_pay_from(gamma, share, size, profile)
    forward = profile.verify + gamma * profile.per_row
    with_states = (1 - share) * forward + (gamma + 1) * size / rate
    assert (with_states < forward) == (factor > 1)
    assert costs.states_pay_from(gamma, 0.0, size, profile) == inf
    with pytest.raises(InputError, match="share"):
        costs.states_pay_from(gamma, 1.5, size, profile)
