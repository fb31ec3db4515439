"""The solver over whole ranges of budgets (facts 31, 32), its refusals, and profiles of known clocks."""

from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig, Qwen2Config

from aiflow.collaboration.familial import counts
from aiflow.collaboration.familial.family import Member
from aiflow.collaboration.familial.solver import Profile, measure, solve
from aiflow.errors import BudgetError, InputError

CLIP = {"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24, "num_attention_heads": 16}
LLAVA: Any = LlavaConfig(
    vision_config=CLIPVisionConfig(**CLIP, image_size=336, patch_size=14), text_config=LlamaConfig(vocab_size=32000)
)
TINY: Any = Qwen2Config(
    hidden_size=64,
    intermediate_size=172,
    num_hidden_layers=6,
    num_attention_heads=4,
    num_key_value_heads=2,
    vocab_size=512,
    tie_word_embeddings=True,
)


def least_branch(config: Any) -> int:
    """A branch of the smallest share that leaves every linear a rank."""
    shapes = counts.shapes(config).values()
    inverse = min(m * n / (m + n) for m, n in shapes)
    return counts.norms(config) + sum(int(m * n / (m + n) / inverse + 1e-9) * (m + n) for m, n in shapes)


@pytest.mark.parametrize("config", [LLAVA, TINY], ids=["llava", "tiny"])
def test_a_thousand_budgets(config: Any) -> None:
    costs = {name: m + n for name, (m, n) in counts.shapes(config).items()}
    cheapest, least, depth = min(costs.values()), least_branch(config), counts.depth(config)
    bare = [counts.fixed(config) + e * counts.block(config) for e in range(depth + 1)]
    norms, whole = counts.norms(config), counts.branch(config, 1.0)
    low, high = bare[1] + least, bare[depth]
    budgets = [low + i * (high - low) // 999 for i in range(1000)]
    plans = [solve(config, parameters=p) for p in budgets]
    between = 0
    for budget, plan in zip(budgets, plans, strict=True):
        assert plan.parameters <= budget
        if plan.exit == depth:
            assert plan.parameters == budget == high
            continue
        assert min(plan.ranks.values()) >= 1
        branch = norms + sum(costs[name] * rank for name, rank in plan.ranks.items())
        assert plan.parameters == bare[plan.exit] + branch
        assert branch <= bare[1] - bare[0]
        assert plan.exit + 1 == depth or bare[plan.exit + 1] + least > budget
        if budget - plan.parameters >= cheapest:
            # Only in the sliver between a full branch and the smallest one a block later.
            between += 1
            assert budget > bare[plan.exit] + whole - max(costs.values())
            assert budget - plan.parameters < least + sum(costs.values())
    assert between < 60
    assert all(a.parameters <= b.parameters for a, b in pairwise(plans))
    assert {p.exit for p in plans} == set(range(1, depth + 1))


def test_the_sliver_between_two_exits_is_narrow() -> None:
    for config in (LLAVA, TINY):
        sliver = counts.block(config) + least_branch(config) - counts.branch(config, 1.0)
        ranks = sum(m + n for m, n in counts.shapes(config).values())
        assert sliver < least_branch(config) + ranks
    assert sliver > 0
    assert (counts.block(LLAVA) + least_branch(LLAVA) - counts.branch(LLAVA, 1.0)) / counts.block(LLAVA) < 0.001


def test_the_paper_s_member_is_found_by_its_size() -> None:
    size = counts.member(LLAVA, 10, 0.75)
    plan = solve(LLAVA, parameters=size)
    assert plan.exit == 10
    assert size - 8192 < plan.parameters <= size
    assert plan.keep == pytest.approx(0.75, abs=1e-3)


def test_plans_name_members_that_can_be_counted() -> None:
    low = counts.member(TINY, 1) + least_branch(TINY)
    for budget in range(low, low + 3000, 23):
        plan = solve(TINY, parameters=budget)
        assert plan.member == Member(exit=plan.exit, keep=plan.keep)
        assert (
            0
            <= plan.parameters - counts.member(TINY, plan.exit, plan.keep)
            < sum(m + n for m, n in counts.shapes(TINY).values())
        )


def test_exits_and_stored_shares_restrict_the_choice() -> None:
    stored = {1: 0.5, 3: 0.75}
    ceiling = counts.member(TINY, 1, 0.5)
    assert solve(TINY, parameters=counts.member(TINY, 3) - 1, exits=[1, 3], keep_max=stored).parameters == ceiling
    assert solve(TINY, parameters=counts.member(TINY, 3) - 1).exit == 2
    plan = solve(TINY, parameters=counts.total(TINY) - 1, exits=[1, 3, 6], keep_max=stored)
    assert (plan.exit, plan.keep, plan.parameters) == (3, 0.75, counts.member(TINY, 3, 0.75))
    assert solve(TINY, parameters=counts.total(TINY), exits=[1]).exit == 6


def test_above_the_full_model_is_the_full_model() -> None:
    plan = solve(TINY, parameters=10**12)
    assert (plan.exit, plan.keep, plan.ranks, plan.parameters) == (6, None, {}, counts.total(TINY))


def test_memory_counts_bytes_per_parameter() -> None:
    size = counts.member(TINY, 3, 0.5)
    assert solve(TINY, memory_bytes=2 * size) == solve(TINY, parameters=size)
    assert solve(TINY, memory_bytes=2 * size - 1) == solve(TINY, parameters=size - 1)
    assert solve(TINY, memory_bytes=size, bytes_per_parameter=1) == solve(TINY, parameters=size)


def test_the_remainder_goes_where_the_spectrum_is_largest() -> None:
    flat = {name: torch.ones(64) for name in counts.shapes(TINY)}
    loud = flat | {"self_attn.k_proj": torch.full((64,), 100.0)}
    size = counts.member(TINY, 2, 0.5) + 2 * 96 + 10
    plan = solve(TINY, parameters=size, spectra={2: loud})
    plain = solve(TINY, parameters=size)
    assert plan.ranks["self_attn.k_proj"] > plain.ranks["self_attn.k_proj"]
    assert plan.parameters <= size
    assert size - plan.parameters < 96
    with pytest.raises(InputError, match="spectra lack exit 2"):
        solve(TINY, parameters=size, spectra={1: flat})


def test_latency_buys_blocks_then_share() -> None:
    profile = Profile(fixed_s=1.0, block_s=2.0, branch_s=1.5, branch_base_s=0.25)
    plan = solve(TINY, latency_s=6.0, profile=profile)
    assert plan.exit == 2
    assert plan.keep == pytest.approx(0.5)
    assert plan.parameters == counts.member(TINY, 2, 0.5)
    times = [4 + i * 0.05 for i in range(200)]
    plans = [solve(TINY, latency_s=t, profile=profile) for t in times]
    for t, plan in zip(times, plans, strict=True):
        assert profile.latency(plan.exit, plan.keep) <= t + 1e-9
    assert all((a.exit, a.keep or 0, a.parameters) <= (b.exit, b.keep or 0, b.parameters) for a, b in pairwise(plans))
    assert plans[-1].exit == 6
    with pytest.raises(BudgetError, match=r"exit 1, takes 3\.3"):
        solve(TINY, latency_s=3.2, profile=profile)


def test_below_the_smallest_member_is_refused_by_name() -> None:
    low = counts.member(TINY, 1) + least_branch(TINY)
    assert solve(TINY, parameters=low).parameters == low
    with pytest.raises(BudgetError, match=f"exit 1 with {low} parameters"):
        solve(TINY, parameters=low - 1)
    with pytest.raises(BudgetError, match="the full model"):
        solve(TINY, parameters=low, exits=[])


def test_bad_arguments() -> None:
    with pytest.raises(InputError, match="2 budgets given"):
        solve(TINY, parameters=10**6, latency_s=1.0)
    with pytest.raises(InputError, match="parameters=-3"):
        solve(TINY, parameters=-3)
    with pytest.raises(InputError, match="needs profile"):
        solve(TINY, latency_s=1.0)
    with pytest.raises(InputError, match=r"exit 7 is not in 1\.\.6"):
        solve(TINY, parameters=10**6, exits=[7])
    with pytest.raises(InputError, match="bytes_per_parameter=0"):
        solve(TINY, memory_bytes=10**6, bytes_per_parameter=0)
    with pytest.raises(InputError, match="keep=2"):
        solve(TINY, parameters=10**6, keep_max={1: 2.0})


class Clocked(torch.nn.Module):
    """A model that takes a known time per call; the first call of every run is a prefill."""

    def __init__(self, clock: list[float], seconds: float) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.clock, self.seconds = clock, seconds

    def forward(self, input_ids: torch.Tensor, use_cache: bool, past_key_values: Any = None) -> Any:
        assert use_cache
        self.clock[0] += 100.0 if past_key_values is None else self.seconds
        return SimpleNamespace(past_key_values=input_ids.shape)


class ClockedFamily:
    """A family whose members' times follow a profile exactly."""

    depth = 6

    def __init__(self, profile: Profile) -> None:
        self.profile, self.clock = profile, [0.0]

    def member(self, member: Member, /) -> Any:
        return Clocked(self.clock, self.profile.latency(member.exit, member.keep or None))


def test_measuring_recovers_the_profile() -> None:
    profile = Profile(fixed_s=3.0, block_s=2.0, branch_s=1.5, branch_base_s=0.25)
    family = ClockedFamily(profile)
    found = measure(family, exit=2, keep=0.75, clock=lambda: family.clock[0])
    for name in ("fixed_s", "block_s", "branch_s", "branch_base_s"):
        assert getattr(found, name) == pytest.approx(getattr(profile, name)), name
    with pytest.raises(InputError, match="exit 6 has no branch"):
        measure(family, exit=6, keep=0.75)


def test_measuring_a_real_family() -> None:
    from transformers import AutoModelForCausalLM

    from aiflow.collaboration.familial.branch import Branch, low_rank_block
    from aiflow.collaboration.familial.family import Family
    from aiflow.collaboration.familial.linear import rank_of

    torch.manual_seed(0)
    backbone = AutoModelForCausalLM.from_config(TINY).eval()
    shapes = counts.shapes(TINY)
    ranks = {name: rank_of(m, n, 0.75) for name, (m, n) in shapes.items()}
    factors = {
        name: SimpleNamespace(u_HM=torch.randn(ranks[name], m), v_HN=torch.randn(ranks[name], n))
        for name, (m, n) in shapes.items()
    }
    family = Family(backbone, {2: Branch([low_rank_block(backbone.model.layers[2], factors, ranks, 2)])})
    profile = measure(family, exit=2, keep=0.75, context=4, steps=4)
    assert profile.block_s > 0
    assert profile.latency(6) > profile.latency(1)
    plan = solve(TINY, parameters=counts.member(TINY, 2, 0.6), exits=[2], keep_max={2: 0.75})
    assert plan.keep is not None
    assert counts.member(TINY, 2, plan.keep) == family.count(plan.member)
    assert counts.total(TINY) == family.count(Member(exit=6))
