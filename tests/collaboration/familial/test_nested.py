"""Nested members in one file: prefixes of bytes, truncation, every kind of model, storages."""

import json
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from aiflow.collaboration.familial import nested
from aiflow.collaboration.familial.checkpoint import open_checkpoint
from aiflow.collaboration.familial.decompose import Method, decompose
from aiflow.collaboration.familial.kinds import LINEARS, get_linear, parts
from aiflow.collaboration.familial.linear import LowRank
from aiflow.errors import InputError, WeightsError

LEVELS = (0.3, 0.6, 0.9)


def full_ranks(model: Any) -> dict[str, int]:
    checkpoint = open_checkpoint(model)
    names = nested.linears(checkpoint.text.num_hidden_layers, checkpoint.layers)
    return {name: min(checkpoint.shapes[f"{name}.weight"]) for name in names}


def factors(model: Any) -> dict[str, torch.Tensor]:
    return {name: p for name, p in model.named_parameters() if name.endswith((".u", ".v"))}


def in_double(model: Any) -> None:
    """Transformers' RMSNorm rounds to float32 in between, which would hide or magnify differences of 1e-16."""
    for module in model.modules():
        if type(module).__name__.endswith("RMSNorm"):
            module.forward = partial(rms_norm, module)


def rms_norm(module: Any, x: torch.Tensor) -> torch.Tensor:
    normed: torch.Tensor = module.weight * x * (x.square().mean(-1, keepdim=True) + module.variance_epsilon).rsqrt()
    return normed


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, model: Callable[..., Any]) -> Path:
    out = tmp_path_factory.mktemp("nested")
    batches = [(torch.randint(0, 48, (4, 12), generator=torch.Generator().manual_seed(2)), None)]
    decompose(model("llama", num_hidden_layers=2).bfloat16(), out, batches, levels=LEVELS)
    return out


@pytest.mark.parametrize(
    ("kind", "tied"),
    [("llama", False), ("llama", True), ("qwen2", True), ("qwen3", False), ("mistral", False), ("llava", False)],
)
def test_at_full_rank_it_is_the_original(
    tmp_path: Path, model: Callable[..., Any], ids: torch.Tensor, kind: str, tied: bool
) -> None:
    original = model(kind, num_hidden_layers=2, tied=tied)
    mask = torch.ones_like(ids)
    mask[0, :3] = 0
    # More tokens than inputs: below that, factors are exact on the span of the calibration data only.
    many = torch.randint(0, 48, (8, 24), generator=torch.Generator().manual_seed(4))
    decompose(original, tmp_path, [(many, None), (ids, mask)], levels=[full_ranks(original)])
    loaded = nested.load(tmp_path)
    assert type(loaded) is type(original)
    assert all(isinstance(get_linear(b, name), LowRank) for b in parts(loaded).text.layers for name in LINEARS)
    for each in (original, loaded):
        in_double(each)
    with torch.no_grad():
        wanted = original(input_ids=ids, attention_mask=mask).logits[mask.bool()]
        given = loaded(input_ids=ids, attention_mask=mask).logits[mask.bool()]
    assert given.dtype == torch.float64
    torch.testing.assert_close(given, wanted, rtol=1e-9, atol=1e-9)
    sampled = {"max_new_tokens": 4, "do_sample": False, "attention_mask": mask}
    assert torch.equal(loaded.generate(ids, **sampled), original.generate(ids, **sampled))
    copied = {k: v for k, v in loaded.state_dict().items() if not k.endswith((".u", ".v"))}
    assert all(torch.equal(value, original.state_dict()[name]) for name, value in copied.items())
    assert (loaded.lm_head.weight is parts(loaded).text.embed_tokens.weight) == tied


def test_smaller_members_are_the_first_rows(folder: Path) -> None:
    whole = factors(nested.load(folder))
    for level in nested.members(folder):
        mine = factors(nested.load(folder, level.name))
        for name, value in mine.items():
            assert len(value) == level.ranks[name.rpartition(".")[0]]
            assert torch.equal(value, whole[name][: len(value)])


def test_a_member_costs_its_prefix_and_no_byte_more(folder: Path) -> None:
    sizes = []
    for level in nested.members(folder):
        reader, _ = nested.open_level(folder, level.name)
        assert reader.bytes_read == level.bytes
        sizes.append(level.bytes)
    assert sizes == sorted(set(sizes))
    assert sizes[-1] == (folder / "model.safetensors").stat().st_size


def test_a_cut_file_is_the_members_that_fit(folder: Path, tmp_path: Path, ids: torch.Tensor) -> None:
    levels = nested.members(folder)
    data = (folder / "model.safetensors").read_bytes()
    (tmp_path / "config.json").write_bytes((folder / "config.json").read_bytes())
    (tmp_path / "model.safetensors").write_bytes(data[: levels[1].bytes])
    assert [level.available for level in nested.members(tmp_path)] == [True, True, False]
    with torch.no_grad():
        cut = nested.load(tmp_path, "0.6")(ids).logits
        assert torch.equal(cut, nested.load(folder, "0.6")(ids).logits)
        assert not torch.equal(cut, nested.load(folder, "0.9")(ids).logits)
    for level in (None, "0.9"):
        with pytest.raises(WeightsError, match=r"the largest member that is here is '0\.6'"):
            nested.load(tmp_path, level)
    (tmp_path / "model.safetensors").write_bytes(data[: levels[1].bytes - 1])
    with pytest.raises(WeightsError, match=r"the largest member that is here is '0\.3'"):
        nested.load(tmp_path, "0.6")
    (tmp_path / "model.safetensors").write_bytes(data[:1000])
    with pytest.raises(WeightsError, match="again"):
        nested.load(tmp_path, "0.3")


def test_parameters_are_those_of_the_loaded_model(folder: Path) -> None:
    for level in nested.members(folder):
        loaded = nested.load(folder, level.name)
        assert sum(p.numel() for p in loaded.parameters()) == level.parameters


def test_safetensors_reads_the_file_and_dtypes_follow(folder: Path) -> None:
    stored = load_file(folder / "model.safetensors")
    assert {value.dtype for value in stored.values()} == {torch.bfloat16}
    assert nested.load(folder).dtype == torch.bfloat16
    assert {p.dtype for p in nested.load(folder, dtype=torch.float32).parameters()} == {torch.float32}


def test_int8_factors_stay_close_and_the_rest_is_untouched(
    tmp_path: Path, model: Callable[..., Any], ids: torch.Tensor
) -> None:
    original = model("qwen2", num_hidden_layers=2).float()
    for storage in ("float32", "int8"):
        decompose(original, tmp_path / storage, [(ids, None)], levels=LEVELS, storage=storage)  # type: ignore[arg-type]
    exact, small = nested.load(tmp_path / "float32"), nested.load(tmp_path / "int8")
    assert small.dtype == torch.float32
    for name, value in factors(exact).items():
        step = value.abs().amax(1, keepdim=True) / 127
        error = (factors(small)[name] - value).abs()
        assert bool((error <= step * 0.501).all())
        assert bool((error > 0).any())
    embeddings = (nested.parts(x).text.embed_tokens.weight for x in (original, small))
    assert torch.equal(*embeddings)
    reader, _ = nested.open_level(tmp_path / "int8", "0.3")
    assert reader.bytes_read == nested.members(tmp_path / "int8")[0].bytes


def test_greedy_members_are_nested_too(tmp_path: Path, model: Callable[..., Any], ids: torch.Tensor) -> None:
    decompose(
        model("llama", num_hidden_layers=2), tmp_path, [(ids, None)], levels=LEVELS, method=Method(ranks="greedy")
    )
    levels = nested.members(tmp_path)
    for small, large in pairwise(levels):
        assert all(small.ranks[name] <= large.ranks[name] for name in small.ranks)
    assert len(set(levels[0].ranks.values())) > 2  # negative control: not the uniform rule under another name
    whole = factors(nested.load(tmp_path))
    for name, value in factors(nested.load(tmp_path, "0.3")).items():
        assert torch.equal(value, whole[name][: len(value)])


def test_levels_that_add_nothing_and_levels_that_fall(
    tmp_path: Path, model: Callable[..., Any], ids: torch.Tensor
) -> None:
    original = model("llama", num_hidden_layers=2)
    full = full_ranks(original)
    decompose(original, tmp_path, [(ids, None)], levels=[full, full])
    first, second = nested.members(tmp_path)
    assert (first.name, second.name) == ("member0", "member1")
    assert first.bytes == second.bytes
    assert torch.equal(nested.load(tmp_path, "member1")(ids).logits, nested.load(tmp_path, "member0")(ids).logits)
    for levels in ([0.6, 0.3], [0.3, 0.3], []):
        with pytest.raises(InputError, match="levels"):
            decompose(original, tmp_path / "x", [(ids, None)], levels=levels)


def test_bad_folders(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no member '0\.7'"):
        nested.load(folder, "0.7")
    with pytest.raises(WeightsError, match="there is no"):
        nested.load(tmp_path)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(WeightsError, match="no nested model"):
        nested.load(tmp_path)
    config = json.loads((folder / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(WeightsError, match="cut short"):
        nested.load(tmp_path)
    config["levels"][2]["ranks"]["model.layers.0.mlp.up_proj"] += 1
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes())
    with pytest.raises(WeightsError, match=r"components of 'model\.layers\.0\.mlp\.up_proj'"):
        nested.load(tmp_path)
