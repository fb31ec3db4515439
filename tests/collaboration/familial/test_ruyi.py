"""The released families convert without a change: each exit's logits and greedy text equal an independent reference."""

import importlib.util
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from aiflow.collaboration.familial.family import Member
from aiflow.collaboration.familial.ruyi import convert
from aiflow.errors import InputError, UnsupportedModelError, WeightsError


def _reference() -> ModuleType:
    spec = importlib.util.spec_from_file_location("ruyi_reference", Path(__file__).with_name("ruyi_reference.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


ref = _reference()
IDS = torch.tensor([[3, 17, 42, 9, 55, 1, 30, 30, 8]])
KINDS = [(kind, shared, tied) for kind in ("qwen2", "qwen3") for shared in (True, False) for tied in (True, False)]


def _exit(fields: dict[str, Any], point: int) -> int:
    return point + 1 if point == fields["num_hidden_layers"] - 1 else point


def _worst(family: Any, fields: dict[str, Any], tensors: dict[str, torch.Tensor]) -> float:
    """Largest error of any exit's logits, both through the family and as a model of its own."""
    errors = []
    for point in fields["early_exit_points"]:
        member = Member(exit=_exit(fields, point))
        expected = ref.logits(fields, tensors, IDS[0], point)
        with torch.no_grad():
            for found in (family(IDS, member), family.member(member)(input_ids=IDS).logits):
                errors.append(float((found[0] - expected).abs().max()))
    return max(errors)


@pytest.mark.parametrize(("kind", "shared", "tied"), KINDS)
@pytest.mark.parametrize("shards", [1, 3])
def test_logits_at_every_exit_equal_the_reference(
    tmp_path: Path, kind: str, shared: bool, tied: bool, shards: int
) -> None:
    fields = ref.config(kind, shared=shared, tied=tied)
    tensors = ref.weights(fields)
    family = convert(ref.save(tmp_path, fields, tensors, shards))

    assert family.exits == (1, 3, 6)
    assert family.backbone.config.model_type == kind
    assert _worst(family, fields, tensors) < 1e-5


def test_exits_that_are_not_in_order_and_a_model_without_branches(tmp_path: Path) -> None:
    for name, points in (("mixed", (4, 2, 5)), ("only", (5,))):
        fields = ref.config("qwen3", shared=False, points=points)
        tensors = ref.weights(fields)
        assert _worst(convert(ref.save(tmp_path / name, fields, tensors)), fields, tensors) < 1e-5


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("model.norms.0.weight", "model.norms.2.weight"),
        ("lm_head.0.weight", "lm_head.1.weight"),
        ("model.eelayers.0.mlp.up_proj.weight", "model.eelayers.1.mlp.up_proj.weight"),
        ("model.eelayers.0.self_attn.q_proj.bias", "model.layers.1.self_attn.q_proj.bias"),
    ],
)
def test_two_swapped_tensors_are_seen(tmp_path: Path, a: str, b: str) -> None:
    """Negative control: the comparison above fails for a converter that mixes up two places."""
    fields = ref.config(shared=False)
    tensors = ref.weights(fields)
    swapped = tensors | {a: tensors[b], b: tensors[a]}
    assert _worst(convert(ref.save(tmp_path, fields, swapped)), fields, tensors) > 1e-3


@pytest.mark.parametrize("kind", ["qwen2", "qwen3"])
def test_generate_at_every_exit_equals_greedy_decoding_of_the_reference(tmp_path: Path, kind: str) -> None:
    fields = ref.config(kind, shared=False)
    tensors = ref.weights(fields)
    family = convert(ref.save(tmp_path, fields, tensors))
    texts = []
    for point in fields["early_exit_points"]:
        model = family.member(Member(exit=_exit(fields, point)))
        found = model.generate(IDS, attention_mask=torch.ones_like(IDS), max_new_tokens=8, do_sample=False)
        texts.append(found[0].tolist())
        assert texts[-1] == ref.greedy(fields, tensors, IDS[0], point, 8).tolist()
    assert len({tuple(text) for text in texts}) == 3


def test_a_converted_family_is_saved_and_loaded(tmp_path: Path) -> None:
    fields = ref.config("qwen3", shared=False)
    tensors = ref.weights(fields)
    family = convert(ref.save(tmp_path / "released", fields, tensors))
    family.save_pretrained(tmp_path / "ours", storage="float32")
    again = type(family).from_pretrained(tmp_path / "ours", dtype=torch.float32)
    assert _worst(again, fields, tensors) < 1e-5


def test_the_stop_tokens_come_along(tmp_path: Path) -> None:
    fields = ref.config()
    folder = ref.save(tmp_path, fields, ref.weights(fields))
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": [7, 9]}))
    assert convert(folder).member(Member(exit=3)).generation_config.eos_token_id == [7, 9]


def test_weights_are_held_once_in_the_stored_type_or_another(tmp_path: Path) -> None:
    fields = ref.config(tied=True)
    tensors = {name: value.bfloat16() for name, value in ref.weights(fields).items()}
    folder = ref.save(tmp_path, fields, tensors)

    family = convert(folder)
    assert {p.dtype for p in family.parameters()} == {torch.bfloat16}
    assert sum(p.numel() for p in family.parameters()) == sum(t.numel() for t in tensors.values())
    assert family.backbone.lm_head.weight is family.backbone.model.embed_tokens.weight
    assert not any(p.is_meta for p in [*family.parameters(), *family.buffers()])
    full = convert(folder, dtype=torch.float32)
    assert _worst(full, fields, {name: value.float() for name, value in tensors.items()}) < 1e-5


def test_a_tied_head_may_be_stored_but_must_be_the_embedding(tmp_path: Path) -> None:
    fields = ref.config(tied=True)
    tensors = ref.weights(fields)
    stored = tensors | {"lm_head.weight": tensors["model.embed_tokens.weight"].clone()}
    assert _worst(convert(ref.save(tmp_path, fields, stored)), fields, tensors) < 1e-5
    stored["lm_head.weight"][0, 0] += 1
    with pytest.raises(WeightsError, match="tie_word_embeddings"):
        convert(ref.save(tmp_path, fields, stored))


@pytest.mark.parametrize(
    "name",
    ["model.norms.2.weight", "lm_head.1.weight", "model.eelayers.1.mlp.up_proj.weight", "model.embed_tokens.weight"],
)
def test_a_missing_tensor_is_named(tmp_path: Path, name: str) -> None:
    fields = ref.config(shared=False)
    tensors = ref.weights(fields)
    del tensors[name]
    with pytest.raises(WeightsError, match=f"lacks '{name}'"):
        convert(ref.save(tmp_path, fields, tensors))


def test_tensors_that_are_left_over_stored_twice_or_misshapen_are_named(tmp_path: Path) -> None:
    fields = ref.config()
    tensors = ref.weights(fields)
    with pytest.raises(WeightsError, match=r"holds 'model\.norm\.weight'"):
        convert(ref.save(tmp_path / "extra", fields, tensors | {"model.norm.weight": torch.ones(32)}))
    with pytest.raises(WeightsError, match=r"holds 'model\.eelayers\.1\..* more tensors"):
        convert(ref.save(tmp_path / "fewer", fields | {"early_exit_points": [1, 5]}, tensors))
    with pytest.raises(WeightsError, match=r"'model\.norms\.1\.weight'.*\(31,\).*\(32,\)"):
        convert(ref.save(tmp_path / "shape", fields, tensors | {"model.norms.1.weight": torch.ones(31)}))
    folder = ref.save(tmp_path / "twice", fields, tensors, shards=2)
    (folder / "model-00001-of-00002.safetensors").write_bytes(
        (folder / "model-00002-of-00002.safetensors").read_bytes()
    )
    with pytest.raises(WeightsError, match="more than once"):
        convert(folder)


def test_damaged_and_absent_files(tmp_path: Path) -> None:
    fields = ref.config()
    folder = ref.save(tmp_path, fields, ref.weights(fields))
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-1000])
    with pytest.raises(WeightsError):
        convert(folder)
    file.unlink()
    with pytest.raises(WeightsError, match=r"model\.safetensors"):
        convert(folder)
    for text in ("{", "[]"):
        (folder / "config.json").write_text(text)
        with pytest.raises(WeightsError, match=r"config\.json"):
            convert(folder)
    (folder / "config.json").unlink()
    with pytest.raises(WeightsError, match=r"config\.json"):
        convert(folder)


@pytest.mark.parametrize(
    ("change", "error", "says"),
    [
        ({"model_type": "qwen2"}, UnsupportedModelError, "ruyi_qwen2, ruyi_qwen3"),
        ({"early_exit_points": [1, 3]}, InputError, "end it with 5"),
        ({"early_exit_points": [1, 6]}, InputError, "1 to 5"),
        ({"early_exit_points": [0, 5]}, InputError, "1 to 5"),
        ({"early_exit_points": [3, 3, 5]}, InputError, "distinct"),
        ({"early_exit_points": 5}, InputError, "list"),
        ({"early_exit_points": []}, InputError, "end it with 5"),
        ({"early_exit_points": None}, InputError, "list"),
    ],
)
def test_a_config_that_cannot_be_used(
    tmp_path: Path, change: dict[str, Any], error: type[Exception], says: str
) -> None:
    fields = ref.config()
    folder = ref.save(tmp_path, fields, ref.weights(fields))
    (folder / "config.json").write_text(json.dumps(fields | change))
    with pytest.raises(error, match=says):
        convert(folder)


@pytest.mark.parametrize("name", ["rope_theta", "hidden_size", "early_exit_points"])
def test_a_config_without_a_field(tmp_path: Path, name: str) -> None:
    fields = ref.config()
    folder = ref.save(tmp_path, fields, ref.weights(fields))
    del fields[name]
    (folder / "config.json").write_text(json.dumps(fields))
    with pytest.raises(WeightsError, match=name):
        convert(folder)
