"""Branches start as the best low-rank copy of the next block on the calibration inputs."""

from typing import Any

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM, Qwen2Config, Qwen2ForCausalLM

from aiflow.collaboration.familial.branch import Branch, low_rank_block
from aiflow.collaboration.familial.branching import Calibration, decomposed, initialise, input_grams
from aiflow.collaboration.familial.family import Family, Member
from aiflow.collaboration.familial.kinds import LINEARS, get_linear
from aiflow.collaboration.familial.running import run
from aiflow.errors import InputError

SIZES: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 60,
}
LEFT = torch.tensor([[0, 0, 0, 1, 1, 1, 1, 1], [1, 1, 1, 1, 1, 1, 1, 1]]).bool()


@pytest.fixture
def family() -> Family:
    torch.manual_seed(0)
    return Family(Qwen2ForCausalLM(Qwen2Config(**SIZES)).double().eval())


def ids(seed: int, rows: int = 8, length: int = 24) -> torch.Tensor:
    return torch.randint(0, 60, (rows, length), generator=torch.Generator().manual_seed(seed))


def branch_input_outputs(family: Family, exit_: int, batch: Calibration) -> tuple[dict[str, Any], dict[str, Any]]:
    """Inputs and outputs of the linears of block ``exit_``, by an independent route: hooks and the model's forward."""
    seen: dict[str, Any] = {}
    out: dict[str, Any] = {}
    block = family.parts.text.layers[exit_]

    def keep(name: str) -> Any:
        def hook(_module: Any, args: Any, result: Any) -> None:
            seen[name], out[name] = args[0].reshape(-1, args[0].shape[-1]), result.reshape(-1, result.shape[-1])

        return hook

    handles = [get_linear(block, n).register_forward_hook(keep(n)) for n in LINEARS]
    with torch.no_grad():
        family.backbone(inputs_embeds=batch.h_BTD, use_cache=False)
    for handle in handles:
        handle.remove()
    return seen, out


@pytest.mark.parametrize("whiten", [True, False])
def test_reported_loss_is_the_loss_on_the_calibration_inputs(family: Family, whiten: bool) -> None:
    batch = Calibration.of_ids(family, ids(1))
    report = initialise(family, {2: 0.5}, [batch], whiten=whiten)
    seen, out = branch_input_outputs(family, 2, batch)
    block: Any = family.branches["2"].blocks[0]
    for name in LINEARS:
        dense = get_linear(family.parts.text.layers[2], name)
        bias = 0 if dense.bias is None else dense.bias
        y = out[name] - bias
        error = ((get_linear(block, name)(seen[name]) - out[name]).square().sum() / y.square().sum()).item()
        assert (abs(error - report[2]["loss"][name]) < 1e-9) == whiten, name  # plain SVD's loss is that of the weights
    assert set(report[2]["method"].values()) == ({"cholesky"} if whiten else {"plain"})


def test_whitening_beats_plain_svd_on_inputs_it_was_calibrated_on(family: Family) -> None:
    batch = Calibration.of_ids(family, ids(1))
    full = family.hidden(batch.h_BTD, [3])[3]
    errors = []
    for whiten in (True, False):
        initialise(family, {2: 0.4}, [batch], whiten=whiten)
        short = family.hidden(batch.h_BTD, [2])[2]
        branch: Any = family.branch(Member(exit=2))
        errors.append((run(family.parts, branch.blocks, short) - full).square().sum().item())
    assert errors[0] < errors[1]


def test_one_pass_serves_all_exits_and_any_batch_split_is_the_same(family: Family) -> None:
    whole = initialise(family, {1: 0.5, 3: 0.75}, [Calibration.of_ids(family, ids(2))])
    alone = initialise(family, {3: 0.75}, [Calibration.of_ids(family, part) for part in ids(2).split(3)])
    assert whole[3]["ranks"] == alone[3]["ranks"]
    for name in LINEARS:
        assert whole[3]["loss"][name] == pytest.approx(alone[3]["loss"][name], rel=1e-9)
    assert family.exits == (1, 3, 4)


def test_norms_and_biases_are_copies(family: Family) -> None:
    with torch.no_grad():
        for block in family.parts.text.layers:
            block.self_attn.q_proj.bias.normal_()
            block.input_layernorm.weight.normal_()
    initialise(family, {1: 0.5}, [Calibration.of_ids(family, ids(1))])
    own: Any = family.branches["1"].blocks[0]
    dense = family.parts.text.layers[1]
    assert torch.equal(own.self_attn.q_proj.bias, dense.self_attn.q_proj.bias)
    assert torch.equal(own.input_layernorm.weight, dense.input_layernorm.weight)
    assert own.input_layernorm.weight is not dense.input_layernorm.weight


def test_padding_is_left_out(family: Family) -> None:
    tokens = ids(3, rows=2, length=8)
    masked = input_grams(family, [1], [Calibration.of_ids(family, tokens, LEFT)])
    apart = input_grams(
        family, [1], [Calibration.of_ids(family, tokens[:1, 3:]), Calibration.of_ids(family, tokens[1:])]
    )
    for name in LINEARS:
        assert masked[1][name].tokens == 13
        torch.testing.assert_close(masked[1][name].matrix_NN, apart[1][name].matrix_NN, rtol=1e-9, atol=1e-12)
    unmasked = input_grams(family, [1], [Calibration.of_ids(family, tokens)])
    assert not torch.allclose(unmasked[1][LINEARS[0]].matrix_NN, apart[1][LINEARS[0]].matrix_NN)


def test_hooks_are_gone_afterwards_also_after_an_error(family: Family) -> None:
    batch = Calibration.of_ids(family, ids(1))
    initialise(family, {1: 0.5}, [batch])
    with pytest.raises(InputError, match="finite"):
        initialise(family, {1: 0.5}, [Calibration(h_BTD=batch.h_BTD * torch.nan)])
    assert not any(m._forward_pre_hooks for m in family.modules())


def test_a_branch_of_two_blocks_is_the_next_two_and_nests(family: Family) -> None:
    batch = Calibration.of_ids(family, ids(1))
    report = initialise(family, {1: 1.0, 2: 1.0}, [batch], blocks=2)
    whole = family.hidden(batch.h_BTD, [1, 2, 3, 4])
    for exit_ in (1, 2):
        branch: Any = family.branch(Member(exit=exit_))
        # At the rank of equal parameters the copy is not exact, but far nearer to two blocks on than to one.
        made = run(family.parts, branch.blocks, whole[exit_])
        far = (made - whole[exit_ + 1]).norm()
        assert (made - whole[exit_ + 2]).norm() < 0.7 * far, exit_
        assert [b.self_attn.layer_idx for b in branch.blocks] == [exit_, exit_ + 1]
    errors = [report[2]["loss"][name] for name in LINEARS]
    halves = initialise(family, {2: 0.5}, [batch], blocks=2)[2]["loss"]
    assert all(halves[name] > error for name, error in zip(LINEARS, errors, strict=True))
    part = family.count(Member(exit=2, keep=0.25)) - family.count(Member(exit=2, keep=0))
    whole_branch = family.count(Member(exit=2)) - family.count(Member(exit=2, keep=0))
    assert 0 < part < whole_branch
    with pytest.raises(InputError, match=r"exit 3.*1 to 2"):
        initialise(family, {3: 0.5}, [batch], blocks=2)


@pytest.mark.parametrize("exit_", [0, 4, -1])
def test_exit_without_a_next_block_is_refused(family: Family, exit_: int) -> None:
    with pytest.raises(InputError, match=f"exit {exit_}.*1 to 3"):
        initialise(family, {exit_: 0.5}, [Calibration.of_ids(family, ids(1))])


@pytest.mark.parametrize("keep", [0.0, 1.5, 0.0001])
def test_unusable_keep_is_refused_before_anything_runs(family: Family, keep: float) -> None:
    with pytest.raises(InputError, match=f"keep={keep}"):
        initialise(family, {1: 0.5, 2: keep}, [Calibration.of_ids(family, ids(1))])
    assert family.exits == (4,)


def test_padding_only_is_refused(family: Family) -> None:
    for batches in ([], [Calibration.of_ids(family, ids(1), torch.zeros(8, 24).bool())]):
        with pytest.raises(InputError, match="padding"):
            initialise(family, {1: 0.5}, batches)
    assert family.exits == (4,)


def test_branch_of_full_rank_is_the_next_block() -> None:
    torch.manual_seed(1)
    family = Family(LlamaForCausalLM(LlamaConfig(**SIZES)).double().eval())
    batch = Calibration.of_ids(family, ids(1))
    block = family.parts.text.layers[2]
    ranks = {n: min(get_linear(block, n).weight.shape) for n in LINEARS}
    factors, _ = decomposed(block, ranks, input_grams(family, [2], [batch])[2])
    family.add(2, Branch([low_rank_block(block, factors, ranks, 2)]))
    states = family.hidden(batch.h_BTD, [2, 3])
    expected = family.parts.text.norm(states[3])
    torch.testing.assert_close(family.read(states[2], Member(exit=2)), expected, rtol=1e-10, atol=1e-10)
