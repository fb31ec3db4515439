"""Zero-residual blocks change no bit of a model (fact 38), and what is trained in them becomes a low-rank branch."""

from typing import Any

import pytest
import torch
import transformers as hf
from torch import nn

from aiflow.collaboration.familial.branch import Branch
from aiflow.collaboration.familial.expand import OUTPUTS, appended, expand, measure, shrink
from aiflow.collaboration.familial.family import Family, Member
from aiflow.collaboration.familial.kinds import LINEARS, get_linear, parts
from aiflow.collaboration.familial.linear import rank_of
from aiflow.errors import InputError, UnsupportedModelError

IDS = torch.tensor([[3, 17, 42, 9, 5, 1, 30, 30, 8], [7, 7, 7, 12, 40, 2, 9, 0, 33]])
SMALL = {
    "vocab_size": 51,
    "hidden_size": 32,
    "intermediate_size": 40,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
}
CONFIGS = {
    "llama": lambda: hf.LlamaConfig(**SMALL, attention_bias=True, mlp_bias=True),
    "qwen2": lambda: hf.Qwen2Config(**SMALL, use_sliding_window=True, sliding_window=4, max_window_layers=2),
    "qwen3": lambda: hf.Qwen3Config(**SMALL, tie_word_embeddings=True),
    "mistral": lambda: hf.MistralConfig(**SMALL, sliding_window=4),
    "llava": lambda: hf.LlavaConfig(
        text_config=hf.LlamaConfig(**SMALL),
        vision_config=hf.CLIPVisionConfig(
            hidden_size=16,
            intermediate_size=24,
            num_hidden_layers=2,
            num_attention_heads=2,
            image_size=8,
            patch_size=4,
            projection_dim=16,
        ),
        image_token_id=50,
        vision_feature_layer=-1,
    ),
}


def _model(kind: str, seed: int = 0) -> Any:
    torch.manual_seed(seed)
    auto = hf.AutoModelForImageTextToText if kind == "llava" else hf.AutoModelForCausalLM
    model = auto.from_config(CONFIGS[kind]()).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)  # biases and norms too
    return model


def _inputs(kind: str) -> dict[str, torch.Tensor]:
    mask = torch.ones_like(IDS)
    mask[0, :2] = 0
    if kind != "llava":
        return {"input_ids": IDS, "attention_mask": mask}
    ids = IDS.clone()
    ids[:, 3:7] = 50
    return {"input_ids": ids, "attention_mask": mask, "pixel_values": torch.randn(2, 3, 8, 8)}


@torch.no_grad()
def _logits(model: Any, kind: str = "") -> torch.Tensor:
    torch.manual_seed(9)
    logits: torch.Tensor = model(**_inputs(kind)).logits
    return logits


@pytest.mark.parametrize("init", ["copy", "random"])
@pytest.mark.parametrize("kind", CONFIGS)
def test_the_expanded_model_computes_the_same_bits(kind: str, init: Any) -> None:
    model = _model(kind)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    deeper = expand(model, [1, 3, 3, 4], init=init)

    assert type(deeper) is type(model)
    assert len(parts(deeper).text.layers) == deeper.config.get_text_config().num_hidden_layers == 8
    assert parts(deeper).text.config.num_hidden_layers == 8
    assert [block.self_attn.layer_idx for block in parts(deeper).text.layers] == list(range(8))
    assert torch.equal(_logits(deeper, kind), _logits(model, kind))
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name])
    assert model.config.get_text_config().num_hidden_layers == 4
    shared = {p.data_ptr() for p in model.parameters()} & {p.data_ptr() for p in deeper.parameters()}
    assert not shared


@pytest.mark.parametrize("init", ["copy", "random"])
def test_the_bits_stay_in_bfloat16(init: Any) -> None:
    model = _model("qwen3").bfloat16()
    deeper = expand(model, [2, 3], init=init)
    assert {p.dtype for p in deeper.parameters()} == {torch.bfloat16}
    assert torch.equal(_logits(deeper), _logits(model))


@pytest.mark.parametrize("name", OUTPUTS)
def test_either_output_that_is_not_zero_is_seen(name: str) -> None:
    """Negative control."""
    model = _model("llama")
    deeper = expand(model, [2])
    with torch.no_grad():
        get_linear(parts(deeper).text.layers[2], name).bias[0] = 1e-3
    assert not torch.equal(_logits(deeper), _logits(model))


def test_blocks_are_where_they_were_asked_for_and_copies_are_copies() -> None:
    model = _model("qwen2")
    old, new = parts(model).text.layers, parts(expand(model, [3, 1])).text.layers
    order = [0, 0, 1, 2, 2, 3]
    for i, source in enumerate(order):
        for name in set(LINEARS) - set(OUTPUTS):
            assert torch.equal(get_linear(new[i], name).weight, get_linear(old[source], name).weight)
    zero = [i for i, block in enumerate(new) if not get_linear(block, "mlp.down_proj").weight.any()]
    assert zero == [1, 4]


def test_what_the_config_says_by_block_follows() -> None:
    full, window = "full_attention", "sliding_attention"
    model = _model("qwen2")
    assert model.config.layer_types == [full, full, window, window]
    config = expand(model, [2, 3]).config
    assert config.layer_types == [full, full, full, window, window, window]
    assert config.max_window_layers == 3
    again = type(config).from_dict({k: v for k, v in config.to_dict().items() if k != "layer_types"})
    assert again.layer_types == config.layer_types


def test_a_seed_gives_the_same_random_blocks_and_the_callers_random_state_stays() -> None:
    model = _model("llama")
    torch.manual_seed(5)
    state = torch.get_rng_state()
    first, same, other = (expand(model, [2], init="random", seed=s).state_dict() for s in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), state)
    name = "model.layers.2.mlp.up_proj.weight"
    assert torch.equal(first[name], same[name])
    assert not torch.equal(first[name], other[name])
    assert abs(float(first[name].std()) - model.config.initializer_range) < 0.005


def test_the_expanded_model_is_saved_loaded_and_generates(tmp_path: Any) -> None:
    model = _model("qwen3")
    deeper = expand(model, [2, 4], init="random")
    deeper.save_pretrained(tmp_path)
    again = hf.AutoModelForCausalLM.from_pretrained(tmp_path)
    options = {"max_new_tokens": 6, "do_sample": False, "attention_mask": torch.ones_like(IDS)}
    assert torch.equal(again.generate(IDS, **options), model.generate(IDS, **options))


@pytest.mark.parametrize("init", ["copy", "random"])
def test_new_blocks_learn(init: Any) -> None:
    model = _model("qwen3")
    branch = appended(model, 2, 2, init=init)
    family = Family(model.requires_grad_(False), {2: branch})
    branch = family.branches["2"]
    optimizer = torch.optim.Adam(branch.parameters(), lr=1e-2)
    losses = []
    for _ in range(12):
        logits = family(IDS[:, :-1], Member(exit=2))
        losses.append(nn.functional.cross_entropy(logits.flatten(0, 1), IDS[:, 1:].flatten()))
        optimizer.zero_grad()
        losses[-1].backward()
        optimizer.step()
    assert losses[-1] < losses[0] - 0.5
    assert all(p.grad is None for p in model.parameters())
    moved = [name for name in LINEARS if get_linear(branch.blocks[0], name).weight.grad.abs().max() > 0]
    assert moved == list(LINEARS)


@pytest.mark.parametrize("kind", CONFIGS)
@pytest.mark.parametrize("own_norm", [True, False])
def test_an_appended_branch_starts_as_the_bare_exit(kind: str, own_norm: bool) -> None:
    model = _model(kind)
    family = Family(model, {2: appended(model, 2, 3, own_norm=own_norm)})
    member = family.member(Member(exit=2))
    assert len(parts(member).text.layers) == 5
    assert torch.equal(_logits(member, kind), _logits(family.member(Member(exit=2, keep=0)), kind))
    assert not {id(p) for p in family.branches.parameters()} & {id(p) for p in model.parameters()}


def _trained(model: Any, own_norm: bool = False) -> Branch:
    """A branch whose outputs are no longer zero."""
    branch = appended(model, 2, 2, init="copy", own_norm=own_norm)
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in branch.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.1)
    return branch


BATCHES = [
    (torch.arange(400).reshape(8, 50) * 7 % 51, torch.ones(8, 50, dtype=torch.long)),
    (torch.arange(400).reshape(8, 50) * 11 % 50, torch.ones(8, 50, dtype=torch.long)),
]


@pytest.mark.parametrize("kind", CONFIGS)
def test_a_shrunk_branch_has_the_ranks_of_its_share_and_follows_the_dense_one(kind: str) -> None:
    model = _model(kind)
    branch = _trained(model, own_norm=True)
    grams = measure(model, 2, branch, BATCHES)
    dense = Family(model, {2: branch}).forward(IDS, Member(exit=2))
    errors = []
    for keep in (0.2, 0.6, 1.0):
        low = shrink(branch, grams, keep)
        assert low.low_rank
        assert low.ranks() == {
            n: rank_of(x.out_features, x.in_features, keep)
            for n, x in ((n, get_linear(branch.blocks[0], n)) for n in LINEARS)
        }
        family = Family(model, {2: low})
        assert len(parts(family.member(Member(exit=2))).text.layers) == 4
        errors.append(float((family.forward(IDS, Member(exit=2)) - dense).detach().square().mean()))
    assert errors[0] > errors[1] > errors[2]
    assert errors[2] < 0.5 * float(dense.detach().square().mean())
    assert low.norm is not None
    assert torch.equal(low.norm.weight, branch.norm.weight)


def test_shrinking_minimises_the_error_on_the_calibration_text() -> None:
    """The loss of each linear is smaller than with inputs taken for white (negative control)."""
    model = _model("llama")
    branch = _trained(model)
    grams = measure(model, 2, branch, BATCHES)
    flat = measure(model, 2, branch, BATCHES)
    for gram in (g for row in flat for g in row):
        gram._sum_NN = torch.eye(gram.n, dtype=torch.float64)
    chosen, plain = shrink(branch, grams, 0.5), shrink(branch, flat, 0.5)

    def loss(low: Branch, name: str, group: int) -> float:
        linear = get_linear(low.blocks[0], name)
        gap = (get_linear(branch.blocks[0], name).weight - linear.u.T @ linear.v).detach().double()
        return float(torch.trace(gap @ grams[0][group].matrix_NN @ gap.T))

    for name, group in (("self_attn.q_proj", 0), ("self_attn.o_proj", 1), ("mlp.up_proj", 2), ("mlp.down_proj", 3)):
        assert loss(chosen, name, group) < 0.999 * loss(plain, name, group)


def test_padding_does_not_count() -> None:
    model = _model("qwen2")
    branch = _trained(model)
    ids, ones = BATCHES[0]
    padded = (torch.cat([torch.full((8, 5), 3), ids], 1), torch.cat([torch.zeros(8, 5, dtype=torch.long), ones], 1))
    whole, cut = measure(model, 2, branch, [(ids, ones)]), measure(model, 2, branch, [padded])
    for of_block, of_same in zip(whole, cut, strict=True):
        for a, b in zip(of_block, of_same, strict=True):
            assert a.tokens == b.tokens == 400
            assert float((a.matrix_NN - b.matrix_NN).norm() / a.matrix_NN.norm()) < 1e-5


def test_arguments_that_cannot_be_used() -> None:
    model = _model("llama")
    for after in ([], [0], [5], [-1, 2]):
        with pytest.raises(InputError, match="1 to 4"):
            expand(model, after)
    with pytest.raises(InputError, match="'copy' or 'random'"):
        expand(model, [1], init="zero")
    for exit_ in (0, 4):
        with pytest.raises(InputError, match="1 to 3"):
            appended(model, exit_)
    with pytest.raises(InputError, match="at least one"):
        appended(model, 2, 0)
    branch = _trained(model)
    grams = measure(model, 2, branch, BATCHES[:1])
    low = shrink(branch, grams, 0.5)
    with pytest.raises(InputError, match="low-rank already"):
        shrink(low, grams, 0.5)
    with pytest.raises(InputError, match="measure it again"):
        shrink(branch, grams[:1], 0.5)
    with pytest.raises(InputError, match=r"keep=1\.5"):
        shrink(branch, grams, 1.5)
    with pytest.raises(InputError, match="calibration"):
        shrink(branch, measure(model, 2, branch, []), 0.5)
    with pytest.raises(UnsupportedModelError):
        expand(hf.GPT2LMHeadModel(hf.GPT2Config(n_layer=1, n_embd=8, n_head=2, vocab_size=9)), [1])
