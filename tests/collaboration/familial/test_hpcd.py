"""Hierarchical components: untrained they are one SVD (fact 28), trained they stay prefixes of each other."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import Qwen3Config, Qwen3ForCausalLM

from aiflow.collaboration.familial import hpcd
from aiflow.collaboration.familial.branching import Calibration, input_grams
from aiflow.collaboration.familial.factor import factor, whiten
from aiflow.collaboration.familial.family import Family, Member
from aiflow.collaboration.familial.hpcd import Components, Hierarchy, add_component, backward
from aiflow.collaboration.familial.kinds import LINEARS, get_linear
from aiflow.collaboration.familial.linear import LowRank
from aiflow.collaboration.familial.losses import Distillation, divergence
from aiflow.collaboration.familial.nested import load
from aiflow.collaboration.familial.training import TextBatch
from aiflow.errors import InputError
from aiflow.fitting import Recipe

CONFIG = Qwen3Config(
    hidden_size=32,
    intermediate_size=48,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
    head_dim=8,
    vocab_size=40,
    attention_bias=True,
)
NONE, SOME = Recipe(steps=0, lr=0.0), Recipe(steps=25, lr=3e-3, warmup=2, every=25)


def teacher(dtype: torch.dtype = torch.float64) -> Any:
    torch.manual_seed(0)
    model = Qwen3ForCausalLM(CONFIG).to(dtype).eval()
    for name, parameter in model.named_parameters():
        if "bias" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    return model


def calibration(model: Any) -> list[Calibration]:
    ids = torch.randint(0, 40, (8, 24), generator=torch.Generator().manual_seed(1))
    return [Calibration.of_ids(Family(model), ids)]


def batch(seed: int) -> TextBatch:
    start = torch.randint(0, 40, (6, 1), generator=torch.Generator().manual_seed(seed))
    weights = torch.ones(6, 12)
    weights[:, 8:] = 0
    weights[0, :4] = 0.5
    return TextBatch.of((start + torch.arange(12)) % 40, weights)


def data(start: int) -> Iterator[TextBatch]:
    while True:
        yield batch(start)
        start += 1


def made(model: Any, folder: Path, recipe: Recipe = NONE, count: int = 3, **more: Any) -> Hierarchy:
    return hpcd.train(model, calibration(model), data, recipe, **({"count": count, "rank": 4, "folder": folder} | more))


def linears(model: Any) -> dict[str, Any]:
    return {f"model.layers.{i}.{n}": get_linear(b, n) for i, b in enumerate(model.model.layers) for n in LINEARS}


def loss_of(model: Any, own: TextBatch) -> float:
    """Cross entropy by the model's own forward."""
    logits = model(input_ids=own.ids_BT, use_cache=False).logits.transpose(1, 2)
    losses = torch.nn.functional.cross_entropy(logits, own.targets_BT, reduction="none")
    return ((losses * own.weights_BT).sum() / own.weights_BT.sum()).item()


def test_untrained_components_are_one_svd_and_orthogonal(tmp_path: Path) -> None:
    model = teacher()
    got = made(model, tmp_path)
    grams = input_grams(Family(model), [0, 1], calibration(model))
    for name, dense in linears(model).items():
        layer = linears(got.model)[name]
        _, _, index, short = name.split(".", 3)
        white = whiten(grams[int(index)][short])
        whole = factor(dense.weight, white, 12)
        losses = []
        for count in (1, 2, 3):
            ours = layer.u[: 4 * count].T @ layer.v[: 4 * count]
            torch.testing.assert_close(ours.detach(), whole.first(4 * count).product(), rtol=0, atol=1e-10)
            losses.append(float(((dense.weight - ours) @ white.s_NK).detach().square().sum()))
        assert losses[0] >= losses[1] >= losses[2]
        # Between components; the singular values of each make their own blocks diagonal.
        products = layer.u.detach() @ layer.u.detach().T
        assert (products - products.diag().diag()).abs().max() < 1e-10
        assert got.levels[1][name] == 8


@pytest.mark.parametrize("whitening", ["teacher", "current", "plain"])
def test_untrained_members_improve_with_their_components(tmp_path: Path, whitening: Any) -> None:
    model = teacher()
    got = made(model, tmp_path, count=4, rank=4, whitening=whitening)
    expected = model.model(batch(0).ids_BT).last_hidden_state
    outputs = [got.first(k).model(batch(0).ids_BT).last_hidden_state for k in (1, 2, 3, 4)]
    errors = [(x - expected).norm().item() for x in outputs]
    assert errors == sorted(errors, reverse=True)
    assert errors[3] < 0.8 * errors[0]


def test_training_a_component_leaves_the_earlier_ones_and_the_rest_bit_identical(tmp_path: Path) -> None:
    model = teacher(torch.float32)
    original = {n: p.clone() for n, p in model.named_parameters()}
    two = made(model, tmp_path, SOME, count=2)
    three = made(model, tmp_path, SOME, count=3)  # takes the first two from their checkpoints
    for name, small in linears(two.model).items():
        large = linears(three.model)[name]
        assert torch.equal(large.u[:8], small.u)
        assert torch.equal(large.v[:8], small.v)
        assert torch.equal(large.bias, original[f"{name}.bias"]) if "attn" in name else large.bias is None
        assert (large.rank, small.rank) == (12, 8)
    logits = two.model(batch(0).ids_BT).logits
    assert torch.equal(three.first(2)(batch(0).ids_BT).logits, logits)
    assert not torch.equal(three.first(3)(batch(0).ids_BT).logits, logits)
    for name, parameter in three.model.named_parameters():
        if name in original:  # embeddings, norms, biases, head
            assert torch.equal(parameter, original[name]), name
    assert all(torch.equal(p, original[n]) for n, p in model.named_parameters())


def test_every_component_lowers_the_loss(tmp_path: Path) -> None:
    model = teacher(torch.float32)
    with torch.no_grad():
        model.lm_head.weight *= 10  # the head stays as it is, and a fresh one is too weak to show what is learnt
    before, after = made(model, tmp_path / "a"), made(model, tmp_path / "b", SOME, distillation=Distillation(kl=0))
    own = batch(1000)
    trained = [loss_of(after.first(k), own) for k in (1, 2, 3)]
    assert all(now < loss_of(before.first(k), own) - 0.2 for k, now in zip((1, 2, 3), trained, strict=True))
    assert trained[0] > trained[1] > trained[2]


def test_norms_learn_only_with_the_first_component(tmp_path: Path) -> None:
    model = teacher(torch.float32)
    one = made(model, tmp_path, SOME, count=1, norms=True)
    two = made(model, tmp_path, SOME, count=2, norms=True)
    for name, parameter in one.model.named_parameters():
        if "norm" in name:
            assert not torch.equal(parameter, model.get_parameter(name)), name
            assert torch.equal(parameter, two.model.get_parameter(name)), name
    first, alone = two.first(1)(batch(0).ids_BT).logits, one.model(batch(0).ids_BT).logits
    torch.testing.assert_close(first, alone, atol=1e-5, rtol=1e-5)  # the last bits depend on where a weight lies


def stage(model: Any, count: int) -> Family:
    """A student whose component ``count`` learns."""
    import copy

    guide, student = Family(model), Family(copy.deepcopy(model)).requires_grad_(False)
    for k in range(count):
        if k:
            hpcd._collapse(student)
        add_component(student, guide, [dict.fromkeys(LINEARS, 4)] * 2, None)
    return student


@pytest.mark.parametrize("mix", [False, True])
@pytest.mark.parametrize("kl", [0.4, 0.0])
def test_loss_is_the_weighted_sum_of_cross_entropy_and_divergence(kl: float, mix: bool) -> None:
    model, own = teacher(), batch(3)
    student = stage(model, 2)
    value = backward(Family(model), Distillation(kl=kl, mix=mix))(student, own)
    found = {n: p.grad.clone() for n, p in student.named_parameters() if p.grad is not None}
    student.zero_grad()
    # The same by the models' own forward, with torch's divergence, over all positions.
    theirs = model(own.ids_BT).logits.log_softmax(-1).detach()
    ours = student.backbone(own.ids_BT).logits.log_softmax(-1)
    weights = own.weights_BT / own.weights_BT.sum()
    ce = -(ours.gather(-1, own.targets_BT[..., None])[..., 0] * weights).sum()
    apart = torch.nn.functional.kl_div(ours, theirs, log_target=True, reduction="none").sum(-1)
    expected = (1 - kl if mix else 1) * ce + kl * (apart * weights).sum()
    assert value == pytest.approx(expected.item(), rel=1e-6)
    expected.backward()
    assert found.keys() == {n for n, p in student.named_parameters() if p.requires_grad}
    assert all(".current." in n and n[-2:] in (".u", ".v") for n in found)
    for name, gradient in found.items():
        assert (student.get_parameter(name).grad - gradient).norm() <= 1e-6 * gradient.norm(), name


def test_divergence_is_from_the_teacher_and_vanishes_for_equals() -> None:
    p, q = torch.tensor([[0.9, 0.1]]).log(), torch.tensor([[0.5, 0.5]]).log()
    torch.testing.assert_close(divergence(p, q), torch.tensor([0.368064]), atol=1e-5, rtol=0)
    assert divergence(p, q) != divergence(q, p)
    assert divergence(p, p) == 0


def test_autocast_trains_and_stays_close() -> None:
    model, own = teacher(torch.float32), batch(3)
    student = stage(model, 1)
    exact = backward(Family(model), Distillation())(student, own)
    rough = backward(Family(model), Distillation(), autocast=True)(student, own)
    assert rough == pytest.approx(exact, rel=1e-2)
    assert rough != exact


def test_components_sum_and_collapse_to_the_same_layer() -> None:
    generator = torch.Generator().manual_seed(0)

    def layer(bias: Tensor | None = None) -> LowRank:
        u, v = (torch.randn(3, n, dtype=torch.float64, generator=generator) for n in (5, 7))
        return LowRank(u, v, bias)

    x = torch.randn(4, 7, dtype=torch.float64, generator=generator)
    both = Components(layer(torch.ones(5, dtype=torch.float64)), layer())
    torch.testing.assert_close(both(x), both.collapse()(x), rtol=1e-12, atol=1e-12)
    assert both.collapse().rank == 6


def test_file_holds_all_members(tmp_path: Path) -> None:
    got = made(teacher(torch.float32), tmp_path, SOME, count=2, norms=True)
    levels = got.save(tmp_path / "saved")
    assert [x.name for x in levels] == ["1", "2"]
    for k in (1, 2):
        model = load(tmp_path / "saved", str(k))
        torch.testing.assert_close(model(batch(0).ids_BT).logits, got.first(k)(batch(0).ids_BT).logits)
        family = Family(got.first(k))
        assert levels[k - 1].parameters == sum(p.numel() for p in model.parameters())
        assert family(batch(0).ids_BT, Member(exit=2)).shape == (6, 11, 40)


def test_share_of_a_component_sets_the_ranks(tmp_path: Path) -> None:
    got = made(teacher(), tmp_path, rank=None, keep=0.25, count=2)
    assert got.levels[0]["model.layers.0.self_attn.q_proj"] == 4  # 0.25 * 32 * 32 / 64
    assert got.levels[1]["model.layers.0.mlp.up_proj"] == 8  # 2 * floor(0.25 * 32 * 48 / 80)


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"count": 0}, "count=0"),
        ({"count": 5}, r"5 components of rank 4 exceed the rank of self_attn.k_proj \(16 x 32\)"),
        ({"keep": 0.5}, "give one of them"),
        ({"rank": None}, "give one of them"),
        ({"rank": 0}, "at least 1"),
    ],
)
def test_wrong_sizes_are_refused(tmp_path: Path, more: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        made(teacher(), tmp_path, **more)


def test_wrong_losses_batches_and_member_counts_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="kl=-1"):
        Distillation(kl=-1)
    with pytest.raises(InputError, match=r"kl=1.5"):
        Distillation(kl=1.5, mix=True)
    model = teacher()
    with pytest.raises(InputError, match="loss weight"):
        backward(Family(model), Distillation())(
            stage(model, 1), TextBatch.of(torch.zeros(2, 4).long(), torch.zeros(2, 4))
        )
    with pytest.raises(InputError, match="4 components"):
        made(model, tmp_path).first(4)
