"""Training of families: exact gradients of subsets (fact 33), modes, selections, and that members learn."""

from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import (
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    Qwen2Config,
    Qwen2ForCausalLM,
)
from transformers.models.llama import modeling_llama
from transformers.models.qwen2 import modeling_qwen2

from aiflow.collaboration.familial import training
from aiflow.collaboration.familial.branching import Calibration, initialise
from aiflow.collaboration.familial.family import Family, Member
from aiflow.collaboration.familial.losses import Distillation
from aiflow.collaboration.familial.training import (
    TextBatch,
    accumulate,
    fit_family,
    merge,
    prepare,
    selection,
)
from aiflow.errors import InputError
from aiflow.fitting import Recipe

FULL, ONE, TWO, HALF = Member(exit=4), Member(exit=1), Member(exit=2), Member(exit=2, keep=0.3)
MEMBERS = (ONE, HALF, TWO, FULL)
SIZES: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 40,
}


@pytest.fixture(autouse=True)
def exact_norms(monkeypatch: pytest.MonkeyPatch) -> None:
    """transformers rounds the inputs of its norms to float32; here they keep their precision."""

    def forward(self: Any, x: Tensor) -> Tensor:
        normed: Tensor = self.weight * x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.variance_epsilon)
        return normed

    for module in (modeling_qwen2.Qwen2RMSNorm, modeling_llama.LlamaRMSNorm):
        monkeypatch.setattr(module, "forward", forward)


def new(dtype: torch.dtype = torch.float64, *, tied: bool = False) -> Family:
    torch.manual_seed(0)
    family = Family(Qwen2ForCausalLM(Qwen2Config(**SIZES, tie_word_embeddings=tied)).to(dtype))
    initialise(family, {1: 0.75, 2: 0.75}, [Calibration.of_ids(family, batch(9).ids_BT)])
    return family


def batch(seed: int) -> TextBatch:
    """Rows that count upwards, so that there is something to learn."""
    generator = torch.Generator().manual_seed(seed)
    start = torch.randint(0, 40, (6, 1), generator=generator)
    ids = (start + torch.arange(12)) % 40
    weights = (torch.rand(6, 12, generator=generator) > 0.3).double() * 0.5
    weights[0, 5:] = 0
    return TextBatch.of(ids, weights)


def data(start: int) -> Iterator[TextBatch]:
    while True:
        yield batch(start)
        start += 1


def gradients(family: Family) -> dict[str, Tensor]:
    return {n: p.grad.clone() for n, p in family.named_parameters() if p.grad is not None}


def joint(family: Family, own: TextBatch, weights: dict[Member, float]) -> dict[str, Tensor]:
    """Gradients of the members' mean loss by one graph and one backward pass; logits everywhere, then masked."""
    family.zero_grad()
    total: Any = 0.0
    for member in MEMBERS:
        states = family.hidden(own.embeds(family), [member.exit])[member.exit]
        logits = family.head(member)(family.read(states, member))
        losses = torch.nn.functional.cross_entropy(logits.transpose(1, 2), own.targets_BT, reduction="none")
        loss = (losses * own.weights_BT).sum() / own.weights_BT.sum()
        total = total + weights[member] * loss / sum(weights.values())
    total.backward()
    found = gradients(family)
    family.zero_grad()
    return found


@pytest.mark.parametrize("mix", [False, True])
def test_the_full_model_teaches_the_others_and_learns_nothing_from_them(mix: bool) -> None:
    family, own = new(), batch(1)
    prepare(family, "full")
    chosen = own.weights_BT > 0
    states = family.hidden(own.embeds(family), [1, 2, 4])
    logits = {m: family.head(m)(family.read(states[m.exit], m))[chosen] for m in (ONE, TWO, FULL)}
    truth = own.targets_BT[chosen]
    total: Any = 0.0
    for member, own_logits in logits.items():
        loss_C = torch.nn.functional.cross_entropy(own_logits, truth, reduction="none")
        if member != FULL:  # torch's own divergence, from probabilities that are constants
            wanted = logits[FULL].detach().softmax(-1)
            kl_C = torch.nn.functional.kl_div(own_logits.log_softmax(-1), wanted, reduction="none").sum(-1)
            loss_C = loss_C * (0.3 if mix else 1.0) + 0.7 * kl_C
        total = total + (loss_C * own.weights_BT[chosen]).sum() / own.weights_BT[chosen].sum() / 3
    total.backward()
    expected = gradients(family)
    family.zero_grad()
    for subsets in (None, [(ONE, FULL), (TWO,)]):
        accumulate(family, own, [ONE, TWO, FULL], subsets=subsets, distillation=Distillation(kl=0.7, mix=mix))
        found = gradients(family)
        family.zero_grad()
        for name, gradient in expected.items():
            assert (found[name] - gradient).norm() <= 1e-12 * gradient.norm(), name
    accumulate(family, own, [FULL])
    alone = gradients(family)
    family.zero_grad()
    accumulate(family, own, [FULL], distillation=Distillation())
    assert all(torch.equal(alone[n], g) for n, g in gradients(family).items())


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("mode", ["frozen", "lora", "full"])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-6)])
def test_subsets_give_the_gradients_of_the_joint_loss(
    mode: Any, tied: bool, dtype: torch.dtype, tolerance: float
) -> None:
    family, own = new(dtype, tied=tied), batch(1)
    prepare(family, mode, rank=4)
    if mode == "lora":  # B starts at zero, where A has no gradient
        for name, parameter in family.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(parameter, std=0.1)
    weights = {ONE: 1.0, HALF: 0.5, TWO: 2.0, FULL: 1.0}
    expected = joint(family, own, weights)
    assert expected.keys() == {n for n, p in family.named_parameters() if p.requires_grad}
    for subsets in (None, [(FULL, ONE), (TWO, HALF)], [MEMBERS]):
        accumulate(family, own, MEMBERS, subsets=subsets, weights=weights)
        found = gradients(family)
        family.zero_grad()
        assert found.keys() == expected.keys()
        for name, gradient in expected.items():
            assert (found[name] - gradient).norm() <= tolerance * gradient.norm(), name
            assert gradient.norm() > 0, name


def test_one_subset_alone_is_not_the_joint_gradient() -> None:
    family, own = new(), batch(1)
    prepare(family, "full")
    expected = joint(family, own, dict.fromkeys(MEMBERS, 1.0))
    accumulate(family, own, [FULL, ONE])
    name = "backbone.model.layers.0.mlp.up_proj.weight"
    assert (gradients(family)[name] - expected[name]).norm() > 1e-3 * expected[name].norm()


def test_gradients_add_up_over_calls_and_losses_are_each_members_own() -> None:
    family, own = new(), batch(1)
    prepare(family, "full")
    losses = accumulate(family, own, MEMBERS)
    once = gradients(family)
    assert accumulate(family, own, MEMBERS) == losses
    for name, gradient in gradients(family).items():
        torch.testing.assert_close(gradient, 2 * once[name], rtol=1e-12, atol=1e-15)
    assert list(losses) == list(MEMBERS)
    assert accumulate(family, own, [TWO])[TWO] == pytest.approx(losses[TWO], rel=1e-12)


def test_logits_only_where_a_token_counts() -> None:
    family, own = new(), batch(1)
    prepare(family, "frozen")
    rows: list[int] = []
    family.parts.head.register_forward_hook(lambda _m, args, _o: rows.append(args[0].shape[0]))
    accumulate(family, own, [ONE])
    assert rows == [int((own.weights_BT > 0).sum())]
    assert rows[0] < own.weights_BT.numel()


def test_bfloat16_autocast_stays_close_and_leaves_float32_gradients() -> None:
    family, own = new(torch.float32), batch(1)
    prepare(family, "full")
    exact, expected = accumulate(family, own, MEMBERS), gradients(family)
    family.zero_grad()
    rough = accumulate(family, own, MEMBERS, autocast=True)
    assert all(rough[m] == pytest.approx(exact[m], rel=2e-2) and rough[m] != exact[m] for m in MEMBERS)
    for name, gradient in gradients(family).items():
        assert gradient.dtype == torch.float32
        if gradient.ndim == 2:
            assert torch.nn.functional.cosine_similarity(gradient.ravel(), expected[name].ravel(), dim=0) > 0.98, name


def test_frozen_mode_leaves_the_backbone_bit_identical_and_every_member_learns(tmp_path: Path) -> None:
    family = new(torch.float32)
    prepare(family, "frozen")
    before = {n: p.clone() for n, p in family.backbone.named_parameters()}
    start = accumulate(family, batch(100), MEMBERS)
    family.zero_grad()
    select = selection("all", MEMBERS[:3])
    recipe = Recipe(steps=30, lr=1e-2, warmup=2, every=30)
    fitted = fit_family(family, data, recipe, select, checkpoint=tmp_path / "c.pt")
    end = accumulate(family, batch(100), MEMBERS)
    assert all(torch.equal(p, before[n]) for n, p in family.backbone.named_parameters())
    assert all(end[m] < start[m] - 0.1 for m in MEMBERS[:3])
    assert end[FULL] == start[FULL]
    assert fitted.state["step"] == 30
    assert set(fitted.losses) == set(MEMBERS[:3])


@pytest.mark.parametrize("mode", ["full", "lora"])
def test_every_member_learns_with_the_backbone(mode: Any, tmp_path: Path) -> None:
    family = new(torch.float32)
    prepare(family, mode, rank=8)
    start = accumulate(family, batch(100), MEMBERS)
    family.zero_grad()
    recipe = Recipe(steps=30, lr=1e-2, warmup=2, every=30)
    fit_family(family, data, recipe, selection("all", MEMBERS), checkpoint=tmp_path / "c.pt", subset=2)
    end = accumulate(family, batch(100), MEMBERS)
    assert all(end[m] < start[m] - 0.1 for m in MEMBERS)


def test_merge_folds_the_adapters_in_and_leaves_nothing_of_them() -> None:
    family, own = new(), batch(1)
    plain = {n for n, _ in family.named_parameters()}
    base = family(own.ids_BT, FULL)
    prepare(family, "lora", rank=4)
    learns = {n for n, p in family.named_parameters() if p.requires_grad}
    assert all("lora_" in n or n.startswith("branches.") for n in learns)
    assert sum("lora_A" in n for n in learns) == 4 * 7
    torch.testing.assert_close(family(own.ids_BT, FULL), base, rtol=0, atol=0)
    for name, parameter in family.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    unmerged = {m: family(own.ids_BT, m) for m in MEMBERS}
    assert not torch.allclose(unmerged[FULL], base, atol=1e-3)
    with pytest.raises(InputError, match="merge"):
        prepare(family, "full")
    merge(family)
    for member, logits in unmerged.items():
        torch.testing.assert_close(family(own.ids_BT, member), logits, rtol=1e-6, atol=1e-6)
    assert {n for n, _ in family.named_parameters()} == plain
    assert not any("peft" in type(m).__module__ for m in family.modules())
    assert not hasattr(family.parts.text, "peft_config")
    merge(family)
    assert {n for n, _ in family.named_parameters()} == plain


def test_full_mode_trains_everything_and_modes_can_follow_each_other() -> None:
    family = new()
    prepare(family, "full")
    assert all(p.requires_grad for p in family.parameters())
    prepare(family, "frozen")
    assert {n.split(".")[0] for n, p in family.named_parameters() if p.requires_grad} == {"branches"}


def llava() -> Family:
    torch.manual_seed(0)
    vision = CLIPVisionConfig(
        hidden_size=24, intermediate_size=40, num_hidden_layers=2, num_attention_heads=2, image_size=28, patch_size=14
    )
    config = LlavaConfig(vision_config=vision, text_config=LlamaConfig(**SIZES), image_token_index=39)
    return Family(LlavaForConditionalGeneration(config).double())


def test_image_batches_train_the_projector_only_when_asked() -> None:
    family = llava()
    ids = torch.randint(0, 39, (2, 9), generator=torch.Generator().manual_seed(0))
    ids[:, 1:5] = 39
    pixels = torch.randn(2, 3, 28, 28, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    weights = torch.ones(2, 9, dtype=torch.float64)
    weights[:, :5] = 0
    own = TextBatch.of(ids, weights, pixels)
    initialise(family, {1: 0.75, 2: 0.75}, [Calibration.of_ids(family, ids, pixel_values=pixels)])
    projector = "backbone.model.multi_modal_projector.linear_1.weight"
    for vision in (False, True):
        prepare(family, "full", vision=vision)
        family.zero_grad()
        accumulate(family, own, MEMBERS)
        found = gradients(family)
        assert (projector in found) == vision
        assert any("vision_tower" in n for n in found) == vision
    expected = joint(family, own, dict.fromkeys(MEMBERS, 1.0))
    for name, gradient in found.items():
        torch.testing.assert_close(gradient, expected[name], rtol=1e-9, atol=1e-13)
    with pytest.raises(InputError, match="vision=True"):
        prepare(family, "frozen", vision=True)


def test_selections_are_reproducible_and_take_what_they_say() -> None:
    losses = {ONE: 8.0, TWO: 1.0, HALF: 1.0}
    draws = {
        kind: [selection(kind, MEMBERS, count=2, seed=3)(step, losses) for step in range(400)]
        for kind in ("random", "round-robin", "loss")
    }
    again = selection("random", MEMBERS, count=2, seed=3)
    assert [again(step, {}) for step in range(400)] == draws["random"]
    assert selection("random", MEMBERS, count=2, seed=4)(0, {}) is not None
    assert [selection("random", MEMBERS, count=2, seed=4)(s, {}) for s in range(400)] != draws["random"]
    assert all(len(set(drawn)) == 2 for kind in draws for drawn in draws[kind])
    assert selection("all", MEMBERS)(7, {}) == MEMBERS
    assert set(Counter(m for d in draws["round-robin"] for m in d).values()) == {200}
    assert draws["round-robin"][0] + draws["round-robin"][1] == MEMBERS
    assert min(Counter(m for d in draws["random"] for m in d).values()) > 150


def test_selection_by_loss_is_proportional_and_favours_the_untrained() -> None:
    losses = {ONE: 6.0, HALF: 1.0, TWO: 1.0, FULL: 2.0}
    counts = Counter(selection("loss", MEMBERS, seed=1)(step, losses)[0] for step in range(4000))
    for member, loss in losses.items():
        assert counts[member] / 4000 == pytest.approx(loss / 10, abs=0.03)
    del losses[TWO]
    counts = Counter(selection("loss", MEMBERS, seed=1)(step, losses)[0] for step in range(4000))
    assert counts[TWO] / 4000 == pytest.approx(6 / 15, abs=0.03)


def test_a_killed_run_continues_exactly_with_the_losses_that_steer_it(tmp_path: Path) -> None:
    recipe = Recipe(steps=12, lr=3e-3, warmup=2, every=4)

    def run(path: Path, stop: int | None = None) -> tuple[Family, Any, list[Any]]:
        family, seen = new(torch.float32), []
        prepare(family, "full")
        choose = selection("loss", MEMBERS, count=2, seed=5)

        def select(step: int, losses: Any) -> tuple[Member, ...]:
            seen.append((step, dict(losses)))
            return choose(step, losses)

        return family, fit_family(family, data, recipe, select, checkpoint=path, stop=stop), seen

    straight, fitted, seen = run(tmp_path / "a.pt")
    run(tmp_path / "b.pt", stop=8)
    resumed, again, late = run(tmp_path / "b.pt")
    assert (again.losses, late) == (fitted.losses, seen[8:])
    for name, parameter in straight.named_parameters():
        assert torch.equal(parameter, resumed.get_parameter(name)), name
    # Negative control: without the file the selection would be steered by other losses.
    run(tmp_path / "d.pt", stop=8)
    (tmp_path / "d.losses.json").unlink()
    assert run(tmp_path / "d.pt")[2] != seen[8:]


def test_a_kill_between_checkpoint_and_losses_is_harmless(tmp_path: Path) -> None:
    log = training._Log(tmp_path / "x.json", 2, 10)
    for value in range(4):
        log.add({ONE: float(value), HALF: 1.0})
    for step, expected in ((2, 1.0), (4, 3.0)):
        fresh = training._Log(tmp_path / "x.json", 2, 10)
        fresh.begin(step)
        assert fresh.losses == {ONE: expected, HALF: 1.0}


def test_wrong_arguments_are_refused_before_any_gradient() -> None:
    family, own = new(), batch(1)
    silent = TextBatch.of(torch.zeros(2, 5).long(), torch.zeros(2, 5))
    cases: list[tuple[str, Any]] = [
        ("mode='part'", lambda: prepare(family, "part")),  # type: ignore[arg-type]
        ("LoRA rank 0", lambda: prepare(family, "lora", rank=0)),
        ("no vision tower", lambda: prepare(family, "full", vision=True)),
        ("exit 3", lambda: accumulate(family, own, [ONE, Member(exit=3)])),
        ("no member", lambda: accumulate(family, own, [])),
        ("exactly once", lambda: accumulate(family, own, MEMBERS, subsets=[(ONE, TWO)])),
        ("exactly once", lambda: accumulate(family, own, [ONE], subsets=[(ONE,), (ONE,)])),
        ("above 0", lambda: accumulate(family, own, [ONE, TWO], weights={ONE: 1.0, TWO: -1.0})),
        ("loss weight", lambda: accumulate(family, silent, [ONE])),
        ("5 of 4 members", lambda: selection("random", MEMBERS, count=5)),
        ("0 of 4 members", lambda: selection("random", MEMBERS, count=0)),
        ("'worst' is not known", lambda: selection("worst", MEMBERS)),  # type: ignore[arg-type]
    ]
    for words, call in cases:
        with pytest.raises(InputError, match=words):
            call()
    assert not gradients(family)


def test_weights_lower_the_share_of_a_member() -> None:
    family, own = new(), batch(1)
    prepare(family, "full")
    norms = []
    for weight in (1.0, 0.5, 0.0):
        family.zero_grad()
        accumulate(family, own, [ONE, FULL], weights={ONE: weight, FULL: 1.0})
        norms.append(float(gradients(family)["branches.1.blocks.0.mlp.up_proj.u"].norm()))
    assert norms[2] == 0
    assert all(a > b for a, b in pairwise(norms))
