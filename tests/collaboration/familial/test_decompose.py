"""Layer-by-layer decomposition: sources, budgets, the sequential update and the refit, and what must be refused."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from aiflow.collaboration.familial import nested
from aiflow.collaboration.familial.checkpoint import open_checkpoint
from aiflow.collaboration.familial.decompose import Method, decompose
from aiflow.collaboration.familial.factor import Gram, factor, whiten
from aiflow.collaboration.familial.kinds import LINEARS, SHARED_INPUT, get_linear, parts
from aiflow.errors import BudgetError, InputError, UnsupportedModelError, WeightsError

Make = Callable[..., Any]


def batches(count: int = 2, rows: int = 8) -> list[tuple[torch.Tensor, torch.Tensor | None]]:
    generator = torch.Generator().manual_seed(3)
    made: list[tuple[torch.Tensor, torch.Tensor | None]] = []
    for _ in range(count):
        mask = torch.ones(rows, 12, dtype=torch.long)
        mask[0, :4] = 0
        made.append((torch.randint(0, 48, (rows, 12), generator=generator), mask))
    return made


def tensors(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


def inputs(model: Any, data: list[tuple[torch.Tensor, torch.Tensor | None]]) -> dict[tuple[int, str], torch.Tensor]:
    """(tokens, N) inputs of every linear of a model, without padding."""
    seen: dict[tuple[int, str], list[torch.Tensor]] = {}
    handles = []
    for i, block in enumerate(parts(model).text.layers):
        for name in LINEARS:

            def hook(_module: Any, args: Any, key: tuple[int, str] = (i, name)) -> None:
                seen.setdefault(key, []).append(args[0][mask.bool()])

            handles.append(get_linear(block, name).register_forward_pre_hook(hook))
    with torch.no_grad():
        for ids, given in data:
            mask = torch.ones_like(ids) if given is None else given
            model(input_ids=ids, attention_mask=mask)
    for handle in handles:
        handle.remove()
    return {key: torch.cat(found) for key, found in seen.items()}


def test_factors_are_those_of_each_linear_by_itself(tmp_path: Path, model: Make) -> None:
    """The same as capturing all inputs of the whole model at once: streaming block by block changes nothing."""
    original, data = model("llama", num_hidden_layers=3), batches()
    report = decompose(original, tmp_path, data, levels=[0.5])
    seen, stored = inputs(original, data), tensors(tmp_path)
    by_name = {row["name"]: row for row in report["matrices"]}
    for i, block in enumerate(original.model.layers):
        for group in SHARED_INPUT:
            gram = Gram(seen[i, group[0]].shape[1])
            gram.add(seen[i, group[0]])
            for name in group:
                full = f"model.layers.{i}.{name}"
                weight, row = get_linear(block, name).weight, by_name[full]
                wanted = factor(weight, whiten(gram), row["ranks"][0])
                mine = stored[f"levels.0.{full}.u"].T @ stored[f"levels.0.{full}.v"]
                torch.testing.assert_close(mine, wanted.product(), rtol=1e-4, atol=1e-5)
                assert row["loss"][0] == pytest.approx(wanted.loss() / wanted.loss(0), rel=1e-4)
                x = seen[i, name]
                lost = ((x @ (weight.T - mine.T)).square().sum() / (x @ weight.T).square().sum()).item()
                assert lost == pytest.approx(row["loss"][0], rel=1e-3)
    assert report["calibration_tokens"] == len(seen[0, LINEARS[0]]) == 2 * (8 * 12 - 4)


@pytest.mark.parametrize("kind", ["llama", "qwen2", "llava"])
def test_folder_and_memory_give_the_same_file(tmp_path: Path, model: Make, kind: str) -> None:
    original = model(kind, num_hidden_layers=2, tied=kind == "qwen2").bfloat16()
    original.save_pretrained(tmp_path / "one")
    original.save_pretrained(tmp_path / "many", max_shard_size="10KB")
    assert len(list((tmp_path / "many").glob("*.safetensors"))) > 3
    for name, source in {"a": original, "b": tmp_path / "one", "c": str(tmp_path / "many")}.items():
        decompose(source, tmp_path / name, batches(), levels=[0.3, 0.7])
    first = (tmp_path / "a" / "model.safetensors").read_bytes()
    data = tensors(tmp_path / "a")
    for name in "bc":
        assert tensors(tmp_path / name).keys() == data.keys()
        assert all(torch.equal(value, data[key]) for key, value in tensors(tmp_path / name).items())
        assert len((tmp_path / name / "model.safetensors").read_bytes()) == len(first)
        assert (tmp_path / name / "generation_config.json").is_file()
        assert not list((tmp_path / name).glob(".work*"))


def test_more_calibration_batches_than_one_are_one_sum(tmp_path: Path, model: Make) -> None:
    original, data = model("mistral", num_hidden_layers=2), batches()
    joined = [(torch.cat([ids for ids, _ in data]), torch.cat([mask for _, mask in data if mask is not None]))]
    embedded = [(original.get_input_embeddings()(ids).detach(), mask) for ids, mask in data]
    for name, given in {"a": data, "b": joined, "c": iter(embedded)}.items():
        decompose(original, tmp_path / name, given, levels=[0.5])
    for name in "bc":
        for key, value in tensors(tmp_path / "a").items():
            torch.testing.assert_close(tensors(tmp_path / name)[key].abs(), value.abs(), rtol=1e-3, atol=1e-4)


def test_whitened_loses_less_than_plain_on_its_data(tmp_path: Path, model: Make) -> None:
    original, data = model("llama", num_hidden_layers=2), batches()
    seen = inputs(original, data)
    lost = {}
    for whitening in ("whitened", "plain"):
        decompose(original, tmp_path, data, levels=[0.4], method=Method(whitening=whitening))  # type: ignore[arg-type]
        stored = tensors(tmp_path)
        for (i, name), x in seen.items():
            weight = get_linear(original.model.layers[i], name).weight
            full = f"levels.0.model.layers.{i}.{name}"
            mine = stored[f"{full}.u"].T @ stored[f"{full}.v"]
            lost[whitening, i, name] = (x @ (weight - mine).T).square().sum().item()
    for i, name in seen:
        assert lost["whitened", i, name] < lost["plain", i, name]


def test_plain_svd_needs_no_calibration(tmp_path: Path, model: Make) -> None:
    report = decompose(
        model("llama", num_hidden_layers=1), tmp_path, [], levels=[0.5], method=Method(whitening="plain")
    )
    assert {row["method"] for row in report["matrices"]} == {"plain"}


def test_sequential_profiles_what_compressed_blocks_give(tmp_path: Path, model: Make) -> None:
    """A linear's factors are the optimum for inputs from compressed blocks: no worse there than the others' factors."""
    original, data = model("llama", num_hidden_layers=2), batches(rows=16)
    for sequential in (False, True):
        method = Method(sequential=sequential)
        decompose(original, tmp_path / str(sequential), data, levels=[0.4], method=method)
    first, second = (nested.load(tmp_path / name) for name in ("False", "True"))
    assert torch.equal(first.model.layers[0].mlp.down_proj.u, second.model.layers[0].mlp.down_proj.u)
    x = inputs(second, data)[1, "self_attn.q_proj"]  # after block 0, which is the same in both
    weight = original.model.layers[1].self_attn.q_proj.weight

    def error(loaded: Any) -> float:
        return float((loaded.model.layers[1].self_attn.q_proj(x) - x @ weight.T).detach().square().sum())

    assert error(second) < error(first) * (1 - 1e-6)


def test_refit_brings_every_linear_nearer_to_the_original_outputs(tmp_path: Path, model: Make) -> None:
    original, data = model("llama", num_hidden_layers=1), batches(rows=16)
    ranks = dict.fromkeys(nested.linears(1, "model.layers."), 8)
    for refit in (False, True):
        decompose(original, tmp_path / str(refit), data, levels=[ranks], method=Method(sequential=True, refit=refit))
    plain, refitted = (nested.load(tmp_path / name) for name in ("False", "True"))
    wanted, given = inputs(original, data), inputs(refitted, data)
    dense = original.model.layers[0]
    for name in LINEARS:
        y = get_linear(dense, name)(wanted[0, name])
        errors = [
            (get_linear(loaded.model.layers[0], name)(given[0, name]) - y).square().sum().item()
            for loaded in (refitted, plain)
        ]
        if name in SHARED_INPUT[0]:  # its input is the original's, where the factors are the optimum already
            assert errors[0] == pytest.approx(errors[1], rel=1e-6)
        else:
            assert errors[0] < errors[1] * (1 - 1e-6)


def test_refitted_levels_improve_one_after_the_other(tmp_path: Path, model: Make) -> None:
    original, data = model("llama", num_hidden_layers=1), batches(rows=16)
    method = Method(sequential=True, refit=True)
    decompose(original, tmp_path / "two", data, levels=[0.3, 0.8], method=method)
    decompose(original, tmp_path / "one", data, levels=[0.3], method=method)
    for part in "uv":  # q: same inputs, so the first level does not depend on the second
        name = f"levels.0.model.layers.0.self_attn.q_proj.{part}"
        torch.testing.assert_close(tensors(tmp_path / "two")[name], tensors(tmp_path / "one")[name])
    x, y = inputs(nested.load(tmp_path / "two"), data), inputs(original, data)
    errors = []
    for level in ("0.3", "0.8"):
        linear = nested.load(tmp_path / "two", level).model.layers[0].mlp.down_proj
        wanted = original.model.layers[0].mlp.down_proj(y[0, "mlp.down_proj"])
        errors.append((linear(x[0, "mlp.down_proj"]) - wanted).square().sum().item())
    assert errors[1] < errors[0]


@pytest.mark.parametrize("sequential", [False, True])
def test_greedy_spends_the_budget_and_beats_uniform(tmp_path: Path, model: Make, sequential: bool) -> None:
    original, data = model("llama", num_hidden_layers=3), batches(rows=16)
    seen: list[tuple[int, int, str]] = []
    loss = {}
    for ranks in ("uniform", "greedy"):
        method = Method(ranks=ranks, sequential=sequential)  # type: ignore[arg-type]
        report = decompose(
            original, tmp_path / ranks, data, levels=[0.5], method=method, progress=lambda *now: seen.append(now)
        )
        rows = report["matrices"]
        loss[ranks] = sum(row["loss"][0] for row in rows)
        spent = sum(row["ranks"][0] * sum(row["shape"]) for row in rows)
        budget = sum(row["shape"][0] * row["shape"][1] for row in rows) // 2
        assert spent <= budget
        if ranks == "greedy":
            assert budget - spent < min(sum(row["shape"]) for row in rows)
    if not sequential:  # where the losses allocated by are those reported
        assert loss["greedy"] < loss["uniform"]
    total = 6 if sequential else 3
    assert seen[-1] == (total, total, "blocks done")
    assert all(done <= total for done, total, _ in seen)


def test_the_report_is_json_and_lies_beside_the_model(tmp_path: Path, model: Make) -> None:
    report = decompose(model("qwen3", num_hidden_layers=2), tmp_path, batches(), levels=[0.2, 0.5], storage="bfloat16")
    assert json.loads((tmp_path / "decomposition.json").read_text()) == report
    assert [level["name"] for level in report["levels"]] == ["0.2", "0.5"]
    assert all(row["loss"][0] >= row["loss"][1] >= 0 and row["seconds"] > 0 for row in report["matrices"])
    assert set(report["seconds_per_shape"]) == {"48x32", "24x32", "32x48"}


def test_what_cannot_be_decomposed(tmp_path: Path, model: Make) -> None:
    from transformers import GPT2Config, GPT2LMHeadModel

    out, original = tmp_path / "out", model("llama", num_hidden_layers=2)
    other = GPT2LMHeadModel(GPT2Config(n_layer=1, n_head=2, n_embd=8, vocab_size=50))
    other.save_pretrained(tmp_path / "gpt2")
    for source in (other, tmp_path / "gpt2"):
        with pytest.raises(UnsupportedModelError, match="gpt2"):
            decompose(source, out, batches())
    ids = batches()[0][0]
    bad: list[tuple[Any, str]] = [
        ([], "padding only"),
        ([(ids, torch.zeros_like(ids))], "padding only"),
        ([(ids + 40, None)], "from 0 to 49"),
        ([(ids, torch.ones(2, 2))], "mask"),
        ([(torch.zeros(2, 3, 31), None)], "embeddings"),
    ]
    for data, words in bad:
        with pytest.raises(InputError, match=words):
            decompose(original, out, data)
    with pytest.raises(BudgetError, match="smallest"):
        decompose(original, out, batches(), levels=[0.001], method=Method(ranks="greedy"))
    for level in (0.001, 0.0, 1.5, {"model.layers.0.mlp.up_proj": 3}):
        with pytest.raises(InputError):
            decompose(original, out, batches(), levels=[level])
    ranks = dict.fromkeys(nested.linears(2, "model.layers."), 40)
    with pytest.raises(InputError, match="rank 40"):
        decompose(original, out, batches(), levels=[ranks])
    for wrong in ({"ranks": "best"}, {"refit": True}, {"whitening": "plain", "sequential": True}):
        with pytest.raises(InputError):
            Method(**wrong)
    with pytest.raises(InputError, match="is the source"):
        decompose(tmp_path / "gpt2", tmp_path / "gpt2", batches())
    assert not (out / "model.safetensors").exists()
    assert not list(out.glob(".work*"))


def test_broken_checkpoints(tmp_path: Path, model: Make) -> None:
    original = model("llama", num_hidden_layers=2).bfloat16()
    original.save_pretrained(tmp_path, max_shard_size="10KB")
    files = sorted(tmp_path.glob("*.safetensors"))
    assert open_checkpoint(tmp_path).names  # control: it is whole

    data = files[1].read_bytes()
    files[1].write_bytes(data[:-10])
    with pytest.raises(WeightsError, match="cut short"):
        decompose(tmp_path, tmp_path / "out", batches())
    files[1].unlink()
    with pytest.raises(WeightsError, match="there is no file"):
        decompose(tmp_path, tmp_path / "out", batches())
    index = tmp_path / "model.safetensors.index.json"
    index.write_text("{}")
    with pytest.raises(WeightsError, match="cannot be read"):
        decompose(tmp_path, tmp_path / "out", batches())
    index.unlink()
    with pytest.raises(WeightsError, match="neither"):
        decompose(tmp_path, tmp_path / "out", batches())
    state = {name: value.clone() for name, value in original.state_dict().items()}
    short = {name: value for name, value in state.items() if "up_proj" not in name}
    save_file(short, tmp_path / "model.safetensors")
    with pytest.raises(WeightsError, match=r"lacks 2 tensors, such as .*up_proj"):
        decompose(tmp_path, tmp_path / "out", batches())
    save_file(state | {"model.norm.weight": torch.ones(31)}, tmp_path / "model.safetensors")
    with pytest.raises(WeightsError, match="they must agree"):
        decompose(tmp_path, tmp_path / "out", batches())
    (tmp_path / "config.json").unlink()
    with pytest.raises(WeightsError, match="no config"):
        decompose(tmp_path, tmp_path / "out", batches())
