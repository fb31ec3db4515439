"""The rules keep the law of the tier that speaks last: in closed form, in samples of real tiers, and by contrast.

Facts 1, 2, 3, 4, 6 and 7. Legend: N runs, M proposals of a block, V vocabulary.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from toy_engines import HashEngine, TableEngine, fit, markov, stations, text

from aiflow.collaboration.decoding import chain, noise
from aiflow.collaboration.decoding.engine import Engine
from aiflow.collaboration.decoding.law import Law
from aiflow.collaboration.decoding.rules import MODES, Greedy, Rule, Said, Shared, Soft, draw, judge, rule
from aiflow.collaboration.decoding.sparse import STEPS, Sparse, sparse
from aiflow.collaboration.decoding.tier import Job, Plan, Tier
from aiflow.errors import InputError

Floats = NDArray[np.float64]
LEAST, MOST = 2.0**-54, 1 - 2.0**-53
ONE = Law(temperature=1.0)


# Facts 1 and 2. The uniforms are integrated by bisection: `judge` steps once in the coin, and grows in the second.


def step(below: Callable[[float], bool]) -> float:
    """The number in [0, 1] up to which ``below`` holds."""
    if not below(LEAST):
        return 0.0
    low, high = LEAST, 1.0
    if below(MOST):
        return 1.0
    while low < (middle := (low + high) / 2) < high:
        low, high = (middle, high) if below(middle) else (low, middle)
    return high


def shares(says: Callable[[float], int], size: int) -> Floats:
    """How much of (0, 1) makes it say each of ``size`` tokens, which grow with the number."""
    return np.diff([step(lambda u, v=v: says(u) <= v) for v in range(size)], prepend=0.0)  # type: ignore[misc]


@dataclass
class Measured:
    """``accepted``: probability that the proposal stands; ``other_V``: what is said if it does not."""

    accepted: float
    other_V: Floats

    def said(self, token: int) -> Floats:
        """The law of what is said; one entry more for a token beyond the vocabulary."""
        law = (1 - self.accepted) * np.append(self.other_V, 0.0)
        law[min(token, len(law) - 1)] += self.accepted
        return law


def measure(p_V: Floats, token: int, law: Sparse | None) -> Measured:
    accepted = step(lambda coin: judge(p_V, token, law, coin, 0.5) == token)
    if accepted == 1:
        return Measured(1.0, np.zeros(len(p_V)))
    found = Measured(accepted, shares(lambda u: judge(p_V, token, law, MOST, u), len(p_V)))
    for coin, u in np.random.default_rng(token).random((10, 2)):  # nothing else depends on them
        expected = token if coin < accepted else int(np.searchsorted(found.other_V.cumsum(), u))
        assert judge(p_V, token, law, coin, u) == expected
    return found


def some_p(rng: np.random.Generator, size: int = 5) -> Floats:
    p_V = rng.dirichlet(np.full(size, rng.choice([0.2, 1.0, 5.0])))
    p_V[rng.random(size) < 0.2] = 0.0
    p_V = np.where(p_V.any(), p_V, np.eye(size)[0])
    return p_V / p_V.sum()


def some_q(rng: np.random.Generator, size: int = 5) -> Sparse:
    with np.errstate(divide="ignore"):
        return sparse(np.log(some_p(rng, size)), int(rng.integers(1, size + 1)))


def check_exact(p_V: Floats, q: Sparse) -> None:
    q_V = q.dense(max(len(p_V), max(q.ids) + 1))
    by_token = {token: measure(p_V, token, q.first(token)) for token in q.ids}
    said = sum(q_V[token] * found.said(token) for token, found in by_token.items())
    np.testing.assert_allclose(said, np.append(p_V, 0.0), rtol=0, atol=1e-12)
    overlap = np.minimum(p_V, q_V[: len(p_V)]).sum()
    assert sum(q_V[token] * found.accepted for token, found in by_token.items()) == pytest.approx(overlap, abs=1e-12)


@pytest.mark.parametrize("seed", range(25))
def test_one_position_has_the_law_of_the_judge_exactly(seed: int) -> None:
    rng = np.random.default_rng(seed)
    check_exact(some_p(rng), some_q(rng))


LATTICE = np.array([1, 9, 655, 4870, 60000]) / STEPS


@pytest.mark.parametrize(
    ("p", "q"),
    [
        ([0.1, 0.2, 0.3, 0.4], Sparse((2,), (STEPS,))),  # one-hot proposals
        ([0.0, 0.0, 1.0, 0.0], Sparse((0, 2, 3), (5, STEPS - 10, 5))),  # one-hot judge
        ([0.0, 1.0], Sparse((0,), (STEPS,))),  # nothing in common
        ([0.5, 0.5, 0.0, 0.0], Sparse((2, 3), (1, STEPS - 1))),
        (LATTICE, Sparse((0, 1, 2, 3, 4), (1, 9, 655, 4870, 60000))),  # equal
        (LATTICE, Sparse((4, 3, 2, 1, 0), (1, 9, 655, 4870, 60000))),
        ([1e-300, 1e-9, 1 - 1e-9], Sparse((0, 1), (STEPS - 1, 1))),
        ([0.3, 0.7], Sparse((1, 5, 7), (STEPS // 3, STEPS // 3, STEPS // 3))),  # ids that the judge does not have
    ],
)
def test_edge_cases_of_one_position_are_exact(p: Any, q: Sparse) -> None:
    check_exact(np.asarray(p, dtype=float), q)


@pytest.mark.parametrize("seed", range(5))
def test_any_proposal_chosen_without_chance_leaves_the_law(seed: int) -> None:
    p_V = some_p(np.random.default_rng(seed))
    for token in range(len(p_V) + 2):
        found = measure(p_V, token, None)
        chance = p_V[token] if token < len(p_V) else 0.0
        assert found.accepted == pytest.approx(chance, abs=1e-12)
        np.testing.assert_allclose(found.said(token), np.append(p_V, 0.0), rtol=0, atol=1e-12)


def test_what_the_judge_never_says_is_never_accepted() -> None:
    p_V = np.array([0.5, 0.5, 0.0])
    for law in (None, Sparse((2, 0), (1, STEPS - 1)), Sparse((0,), (STEPS,))):  # the last one does not hold it
        assert all(judge(p_V, 2, law, coin, 0.7) != 2 for coin in (LEAST, 0.5, MOST))


def test_a_law_that_was_not_drawn_from_is_seen_in_closed_form() -> None:
    p_V, q_V = np.array([0.4, 0.3, 0.2, 0.1]), np.array([0.1, 0.2, 0.3, 0.4])
    lie = sparse(np.log(q_V) / 3, 4)
    said = sum(q_V[token] * measure(p_V, token, lie.first(token)).said(token)[:4] for token in range(4))
    assert np.abs(said - p_V).sum() / 2 > 0.05


def test_draw_is_proportional_and_never_draws_what_has_no_weight() -> None:
    for seed in range(20):
        weights = np.round(some_p(np.random.default_rng(seed), 7) * 8, 3)
        drawn = shares(partial(draw, weights), 7)
        np.testing.assert_allclose(drawn, weights / weights.sum(), atol=1e-15)
        for u in (LEAST, MOST, 1.0, *(np.cumsum(weights) / weights.sum())):
            assert weights[draw(weights, min(u, 1.0))] > 0


# The rules as tiers use them.


def logits(*p: Sequence[float]) -> torch.Tensor:
    return torch.tensor(np.array(p), dtype=torch.float64).log()


EVEN = [0.25, 0.25, 0.25, 0.25]


def test_greedy_says_up_to_the_first_other_token_and_one_beyond() -> None:
    rows = logits([0.1, 0.6, 0.3], [0.5, 0.0, 0.5], [0.1, 0.1, 0.8])
    own = Greedy(law=Law())
    assert own.say(rows, [9, 1, 0], 1, [None, None]) == Said(tokens=[1, 0, 2], laws=[None] * 3)
    assert own.say(rows, [9, 1, 2], 1, [None, None]).tokens == [1, 0]
    assert own.say(rows, [9, 0, 0], 1, [None, None]).tokens == [1]
    assert own.say(rows[:1], [9], 1, []).tokens == [1]


@pytest.mark.parametrize("make", [lambda: Shared(law=ONE, seed=3), lambda: Soft(law=ONE, seed=3, tier=1, keep=4)])
def test_sampling_stops_at_the_first_rejection(make: Callable[[], Rule]) -> None:
    rows = logits([1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], EVEN)
    own = make()
    assert own.say(rows, [3, 0, 1, 2], 1, [None] * 3).tokens[:3] == [0, 1, 2]
    assert len(own.say(rows, [3, 0, 1, 2], 1, [None] * 3).tokens) == 4
    said = own.say(rows, [3, 0, 2, 2], 1, [None] * 3)
    assert said.tokens == [0, 1]
    assert len(said.laws) == 2


def test_a_token_and_its_law_do_not_depend_on_how_rows_are_asked() -> None:
    rows = torch.randn(6, 9, generator=torch.Generator().manual_seed(0))
    for own in (Shared(law=ONE, seed=5), Soft(law=ONE, seed=5, tier=0, keep=3)):
        together = own.say(rows, [0], 1, [])
        apart = [own.say(rows[t : t + 1], [0] * (1 + t), 1 + t, []) for t in range(6)]
        assert together.tokens == [one.tokens[0] for one in apart]
        assert together.laws == [one.laws[0] for one in apart]


def test_a_judged_tier_draws_from_the_law_that_it_reports() -> None:
    p = torch.softmax(torch.randn(8, generator=torch.Generator().manual_seed(1), dtype=torch.float64), -1)
    said = Soft(law=ONE, seed=11, tier=0, keep=3).say(p.log().expand(4000, 8), [], 0, [])
    reported = sparse(p.log().numpy(), 3)
    assert [law and law.drawn for law in said.laws] == said.tokens
    assert {law and frozenset(zip(law.ids, law.counts, strict=True)) for law in said.laws} == {
        frozenset(zip(reported.ids, reported.counts, strict=True))
    }
    law = {(token,): float(chance) for token, chance in enumerate(reported.dense(8)) if chance}
    assert fit([(token,) for token in said.tokens], law) > 1e-4


def test_tiers_positions_and_the_two_numbers_of_a_position_are_independent() -> None:
    rows = torch.zeros(3000, 4)
    tokens = [Soft(law=ONE, seed=seed, tier=tier).say(rows, [], 0, []).tokens for seed in (1, 2) for tier in (0, 1, 2)]
    streams = [*tokens, tokens[0][1:]]
    even = {(a, b): 1 / 16 for a in range(4) for b in range(4)}
    for i, one in enumerate(streams):
        for other in streams[:i]:
            assert fit(zip(one, other, strict=False), even) > 1e-5
    # A rejected one-hot proposal: the coin says that it is, the second number what comes instead.
    proposals = [0] * 3000
    own = Soft(law=ONE, seed=1, tier=1)
    said = [own.say(rows[:1], proposals[: t + 1], t, [None]).tokens[0] for t in range(3000)]
    assert fit([(token,) for token in said], {(token,): 0.25 for token in range(4)}) > 1e-4


def test_modes_are_checked() -> None:
    sampled = Law(temperature=0.7)
    assert rule("greedy", Law(), seed=1, tier=0, top=True) == Greedy(law=Law())
    assert rule("shared", sampled, seed=1, tier=0, top=False) == Shared(law=sampled, seed=1)
    assert rule("soft", sampled, seed=1, tier=2, top=True) == Soft(law=sampled, seed=1, tier=2, keep=0)
    assert rule("soft", sampled, seed=1, tier=0, top=False, keep=5) == Soft(law=sampled, seed=1, tier=0, keep=5)
    for mode, law in (("greedy", sampled), ("shared", Law()), ("soft", Law()), ("fuzzy", sampled)):
        with pytest.raises(InputError, match=repr(mode)):
            rule(mode, law, seed=1, tier=0, top=True)
    assert set(MODES) == {"greedy", "shared", "soft"}


# Fact 7.


@pytest.mark.parametrize("seed", range(4))
def test_shared_noise_agrees_as_often_as_the_formula_says(seed: int) -> None:
    rng, count = np.random.default_rng(seed), 8000
    p, q = rng.dirichlet(np.full(6, 0.8)), rng.dirichlet(np.full(6, 0.8))
    tokens = [Shared(law=ONE, seed=seed).say(logits(x).expand(count, 6), [], 0, []).tokens for x in (p, q)]
    for said, law in zip(tokens, (p, q), strict=True):
        assert fit([(t,) for t in said], {(i,): float(x) for i, x in enumerate(law)}) > 1e-4
    formula = float((1 / np.maximum(p / p[:, None], q / q[:, None]).sum(1)).sum())
    distance = np.abs(p - q).sum() / 2
    assert (1 - distance) / (1 + distance) <= formula <= 1 - distance
    agreed = float(np.mean(np.array(tokens[0]) == np.array(tokens[1])))
    assert abs(agreed - formula) < 3 * (formula * (1 - formula) / count) ** 0.5


# Fact 6.


@st.composite
def plans(draw_: st.DrawFn, count: int) -> list[Plan]:
    found = []
    for _ in range(count):
        block = draw_(st.integers(1, 5))
        ahead = block * draw_(st.integers(1, 3)) - draw_(st.integers(0, block - 1))
        threshold = draw_(st.sampled_from([0.0, 0.5]))
        found.append(Plan(block=block, ahead=ahead, above=draw_(st.booleans()), threshold=threshold))
    return found


LAWS = [ONE, Law(temperature=0.6, top_k=5), Law(temperature=1.3, top_p=0.8, penalty=1.4, banned=(2,), vocabulary=9)]


def alone_by_noise(engine: HashEngine, law: Law, seed: int, job: Job) -> list[int]:
    """The target's text, without tiers: argmax(log p + g), place by place."""
    tokens = list(job.prompt)
    while len(tokens) < len(job.prompt) + job.limit and not (set(tokens[len(job.prompt) :]) & job.ends):
        row = law.log_probs(engine.row(tokens)[None], tokens, len(tokens))[0]
        tokens.append(int(np.argmax(row + noise.gumbel(seed, len(tokens), len(row)))))
    return tokens[len(job.prompt) :]


# `chain.run` never polls: a verdict that is dropped although nothing was lost (one that counts ``same`` tokens in an
# epoch that the tier below has left) would stop it short of the end.
@pytest.mark.parametrize("count", [2, 3])
@settings(max_examples=80, deadline=None)
@given(data=st.data())
def test_shared_noise_gives_the_target_s_text_whoever_drafts(count: int, data: st.DataObject) -> None:
    seed = data.draw(st.integers(0, 2**32))
    target = HashEngine(11, 0, gap=0.8)
    alphas = [data.draw(st.sampled_from([0.0, 0.5, 1.0])) for _ in range(count - 1)]
    engines = [*(HashEngine(11, 1 + seed + k, like=target, alpha=a) for k, a in enumerate(alphas)), target]
    ends = frozenset([4]) if data.draw(st.booleans()) else frozenset[int]()
    job = Job(session=3, prompt=(1, 5), limit=data.draw(st.integers(1, 14)), ends=ends, vocabulary=11)
    law = data.draw(st.sampled_from(LAWS))
    drafting = data.draw(st.sampled_from([law, ONE]))
    rules = [Shared(law=law if k == count - 1 else drafting, seed=seed) for k in range(count)]
    said = text(job, rules, data.draw(plans(count)), engines)
    assert said == text(job, rules[-1:], [Plan()], [target])
    assert said == alone_by_noise(target, law, seed, job)


def test_another_seed_gives_another_text() -> None:
    target, job = HashEngine(11, 0, gap=0.8), Job(session=3, prompt=(1, 5), limit=14)
    texts = {tuple(alone_by_noise(target, ONE, seed, job)) for seed in range(20)}
    assert len(texts) == 20


# Fact 3, with real tiers. The joint law of three tokens has 64 cells; plans change from run to run.

DEVICE, EDGE, CLOUD = (TableEngine.random(4, seed, 0.9) for seed in (30, 31, 32))
JOB = Job(session=1, prompt=(0,), limit=3, vocabulary=4)
PLANS = [
    Plan(block=b, ahead=b * k, threshold=t) for b, k, t in [(1, 1, 0), (2, 1, 0), (3, 1, 0), (1, 3, 0), (3, 1, 0.4)]
]


def soft(count: int, seed: int) -> list[Rule]:
    return [Soft(law=ONE, seed=seed, tier=k, keep=0 if k == count - 1 else 4) for k in range(count)]


def sampled(
    engines: Sequence[Engine], runs: int, rules: Callable[[int, int], Sequence[Rule]] = soft, job: Job = JOB
) -> list[tuple[int, ...]]:
    count = len(engines)
    found = []
    for seed in range(runs):
        plan = [PLANS[(seed // len(PLANS) ** k) % len(PLANS)] for k in range(count)]
        found.append(tuple(text(job, rules(count, seed), plan, engines)))
    return found


def test_two_tiers_say_texts_of_the_cloud_s_law() -> None:
    assert fit(sampled([DEVICE, CLOUD], 4000), markov(CLOUD.probs_VV, 0, 3)) > 1e-4


def test_three_tiers_say_texts_of_the_cloud_s_law() -> None:
    assert fit(sampled([DEVICE, EDGE, CLOUD], 2500), markov(CLOUD.probs_VV, 0, 3)) > 1e-4


def test_texts_that_end_early_have_the_cloud_s_law() -> None:
    job = Job(session=1, prompt=(0,), limit=3, ends=frozenset([3]), vocabulary=4)
    law = markov(CLOUD.probs_VV, 0, 3, job.ends)
    assert fit(sampled([DEVICE, CLOUD], 1500, job=job), law) > 1e-4


def alternately(made: Sequence[chain.Station]) -> list[int]:
    """Runs the tiers in turn, so that those above do not wait until those below have said all they can."""
    ran = chain.Ran(passes=[0] * len(made), up=[0] * len(made), down=[0] * len(made))
    for turn in range(1000):
        if made[0].tier.done:
            return made[0].tier.answer
        chain.step(made[turn % len(made)])
        chain.deliver(made, ran)
    raise AssertionError("no end")


# A draft goes up early if its last token ends the text or is below the threshold. If the tier above is eager, it must
# not depend on the token whether it is proposed in time (rule R2).
@pytest.mark.parametrize("block", [1, 3])
@pytest.mark.parametrize(("ends", "threshold"), [((3,), 0.0), ((), 0.25)])
def test_an_eager_tier_keeps_its_law(block: int, ends: tuple[int, ...], threshold: float) -> None:
    job = Job(session=1, prompt=(0,), limit=3, ends=frozenset(ends), vocabulary=4)
    below = Plan(block=block, ahead=6, threshold=threshold, above=True)
    texts = [
        tuple(alternately(stations(job, soft(2, seed), [below, Plan(eager=True)], [DEVICE, CLOUD])))
        for seed in range(800)
    ]
    assert fit(texts, markov(CLOUD.probs_VV, 0, 3, job.ends)) > 1e-4


# What a lost tier corrected must not be judged by the numbers that the correction came from (rule R5).
def test_a_middle_tier_that_is_rebuilt_keeps_the_law() -> None:
    engines = [TableEngine(torch.tensor([[x, 0.0, 0.0, 0.0]] * 4, dtype=torch.float64)) for x in (2.0, 0.0, 0.0)]
    plan, texts = Plan(block=2, ahead=2), []
    for seed in range(600):
        rules = soft(3, seed)
        made = stations(JOB, rules, [plan] * 3, engines)
        device, edge = made[0].tier, made[1].tier
        while chain.step(made[0]):
            pass
        for frame in device.outgoing()[0]:
            edge.receive(frame)
        chain.step(made[1])
        _, down = edge.outgoing()  # the edge is lost after it has answered the device
        for frame in down:
            device.receive(frame)
        made[1] = chain.Station(tier=Tier(JOB, rules[1], plan, said=device.answer), engine=engines[1])
        device.reopen()
        chain.run(made)
        texts.append(tuple(device.answer))
    assert fit(texts, markov(engines[2].probs_VV, 0, 3)) > 1e-4


# Fact 4. First with real tiers, as far as they can be led to break a rule; then with the same formula over arrays.


class Lying(Soft):
    """R1 broken: reports the law of another temperature."""

    def say(self, *args: Any) -> Said:
        said = super().say(*args)
        logp = [np.log(law.dense(4)) for law in said.laws if law]
        laws = [sparse(row / 4, 4).first(token) for row, token in zip(logp, said.tokens, strict=True)]
        return Said(tokens=said.tokens, laws=list(laws))


def test_a_device_that_reports_another_law_is_found_out() -> None:
    def rules(_: int, seed: int) -> list[Rule]:
        return [Lying(law=ONE, seed=seed, tier=0, keep=4), Soft(law=ONE, seed=seed, tier=1)]

    assert fit(sampled([DEVICE, CLOUD], 1000, rules), markov(CLOUD.probs_VV, 0, 3)) < 1e-10


def test_tiers_that_share_their_coins_are_found_out() -> None:  # R4 broken
    def rules(_: int, seed: int) -> list[Rule]:
        return [*soft(3, seed)[:2], Soft(law=ONE, seed=seed, tier=1)]

    assert fit(sampled([DEVICE, EDGE, CLOUD], 1000, rules), markov(CLOUD.probs_VV, 0, 3)) < 1e-10


# A second program for the same, over arrays: N runs at once, blocks of DRAFTS, and what breaks a rule as an option.

DRAFTS, PLACES = 2, 9
RUNS = 80_000


def draw_rows(weights_NV: Floats, rng: np.random.Generator) -> NDArray[np.int64]:
    edges_NV = weights_NV.cumsum(1)
    u_N1 = rng.random((len(weights_NV), 1)) * edges_NV[:, -1:]
    return np.minimum((edges_NV <= u_N1).sum(1), weights_NV.shape[1] - 1)


@dataclass
class Texts:
    """``tokens`` (N, PLACES + 1), the prompt's last token first; ``ends`` (N,): places that are filled."""

    tokens: NDArray[np.int64]
    ends: NDArray[np.int64]

    @classmethod
    def start(cls, count: int) -> "Texts":
        return cls(np.zeros((count, PLACES + 1), dtype=np.int64), np.zeros(count, dtype=np.int64))

    def add(self, tokens_N: NDArray[np.int64], where_N: NDArray[np.bool_]) -> None:
        rows = np.flatnonzero(where_N & (self.ends < PLACES))
        self.ends[rows] += 1
        self.tokens[rows, self.ends[rows]] = tokens_N[rows]

    def last(self, back: int = 0) -> NDArray[np.int64]:
        return self.tokens[np.arange(len(self.ends)), self.ends - back]


@dataclass
class Program:
    """Two or three tiers, over arrays.

    Attributes:
        tables: probabilities (V, V) of each tier, the device first.
        coins: how the coins (N, PLACES) of a tier's block come about.
        claimed: the device's law by the judge's belief; None: the true one.
        hold: the device keeps back a token that it gave less than this.
        stop: the device's draft ends after a token that it gave less than this.
        accepted_only: the middle tier forwards no corrections.
    """

    tables: Sequence[Floats]
    rng: np.random.Generator
    coins: Callable[["Program", int], Floats] = lambda self, count: self.rng.random((count, PLACES))
    claimed: Floats | None = None
    hold: float = 0.0
    stop: float = 0.0
    accepted_only: bool = False

    def judge(self, tier: int, base: Texts, proposed: Texts, q_VV: Floats, forward: bool = True) -> None:
        """Adds to ``base`` what a tier says; ``proposed`` are the tokens after it."""
        count = len(base.ends)
        coin_NM = self.coins(self, count)
        active = np.ones(count, dtype=bool)
        for i in range(1, int(proposed.ends.max()) + 1):
            there = active & (proposed.ends >= i)
            token, before = proposed.tokens[:, i], proposed.tokens[:, i - 1]
            p_NV, q_NV, rows = self.tables[tier][before], q_VV[before], np.arange(count)
            yes = coin_NM[:, i - 1] * q_NV[rows, token] <= p_NV[rows, token]
            rest_NV = np.maximum(p_NV - q_NV, 0.0)
            other = draw_rows(np.where(rest_NV.sum(1, keepdims=True) > 0, rest_NV, p_NV), self.rng)
            bonus = active & (proposed.ends == i - 1)
            base.add(draw_rows(p_NV, self.rng), bonus & forward)
            base.add(token, there & yes)
            base.add(other, there & ~yes & forward)
            active = there & yes
        base.add(draw_rows(self.tables[tier][base.last()], self.rng), active & forward)

    def device(self, base: Texts) -> Texts:
        """Drafts after ``base``, which stands as its place 0."""
        found, q_VV = Texts.start(len(base.ends)), self.tables[0]
        found.tokens[:, 0] = base.last()
        active = np.ones(len(base.ends), dtype=bool)
        for _ in range(DRAFTS):
            before = found.last()
            token = draw_rows(q_VV[before], self.rng)
            chance = q_VV[before, token]
            active = active & (chance >= self.hold)
            found.add(token, active)
            active = active & (chance >= self.stop)
        return found

    def middle(self, base: Texts) -> Texts:
        """What the tier between says after ``base``, from rounds with the device, at least DRAFTS tokens."""
        found = Texts.start(len(base.ends))
        found.tokens[:, 0] = base.last()
        while (todo := found.ends < DRAFTS).any():
            part = Texts(found.tokens[todo], found.ends[todo])
            self.judge(1, part, self.device(part), self.q, forward=not self.accepted_only)
            found.tokens[todo], found.ends[todo] = part.tokens, part.ends
        return found

    @property
    def q(self) -> Floats:
        return self.tables[0] if self.claimed is None else self.claimed

    def fit(self) -> float:
        """The p-value of the law of the last tier, for the first three tokens."""
        top = len(self.tables) - 1
        done = Texts.start(RUNS)
        while (todo := done.ends < 3).any():
            part = Texts(done.tokens[todo], done.ends[todo])
            if top == 1:
                self.judge(1, part, self.device(part), self.q)
            else:
                self.judge(2, part, self.middle(part), self.tables[1])
            done.tokens[todo], done.ends[todo] = part.tokens, part.ends
        return fit(map(tuple, done.tokens[:, 1:4].tolist()), markov(self.tables[-1], 0, 3))


TWO = [DEVICE.probs_VV, CLOUD.probs_VV]
THREE = [DEVICE.probs_VV, EDGE.probs_VV, CLOUD.probs_VV]


def one_for_a_block(self: Program, count: int) -> Floats:
    return np.repeat(self.rng.random((count, 1)), PLACES, axis=1)


def judged_twice(self: Program, count: int) -> Floats:
    """The first proposal has to pass two coins."""
    found = self.rng.random((count, PLACES))
    found[:, 0] = np.maximum(found[:, 0], self.rng.random(count))
    return found


@pytest.mark.parametrize(
    ("tables", "options"),
    [(TWO, {}), (TWO, {"stop": 0.3}), (THREE, {}), (THREE, {"stop": 0.3})],
    ids=["two", "two-stop", "three", "three-stop"],
)
def test_the_second_program_keeps_the_law(tables: list[Floats], options: dict[str, Any]) -> None:
    assert Program(tables, np.random.default_rng(0), **options).fit() > 1e-4


@pytest.mark.parametrize(
    ("tables", "options"),
    [
        (TWO, {"claimed": (DEVICE.table_VV / 2).softmax(-1).numpy()}),
        (TWO, {"hold": 0.3}),
        (THREE, {"accepted_only": True}),
        (TWO, {"coins": one_for_a_block}),
        (TWO, {"coins": judged_twice}),
    ],
    ids=["R1-other-law", "R2-held-back", "R3-accepted-only", "R4-one-coin-a-block", "R5-judged-twice"],
)
def test_every_broken_rule_is_found_out(tables: list[Floats], options: dict[str, Any]) -> None:
    assert Program(tables, np.random.default_rng(0), **options).fit() < 1e-10
