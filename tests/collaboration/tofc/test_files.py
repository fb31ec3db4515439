"""Compressors on disk, for models of every kind: what was trained answers alike after it was saved and loaded."""

import pytest
import torch

from aiflow.bench.tofc import tiny
from aiflow.collaboration.tofc.adapters.halves import device_half, server_half
from aiflow.collaboration.tofc.decoder import Decoder
from aiflow.collaboration.tofc.encoder import Encoder
from aiflow.collaboration.tofc.files import WEIGHTS
from aiflow.collaboration.tofc.model import Compressor
from aiflow.collaboration.tofc.training import losses
from aiflow.errors import WeightsError

from .learning import SIZES, batch, compressor, fitted
from .seeing import prompt_ids, shown

KINDS = pytest.mark.parametrize("kind", tiny.KINDS)
MERGED = {"tokens": 5, "level": None, "temperature": 1.0}


def trained(kind, folder):
    made = compressor(kind)
    made.prepare(vision_rank=3, text_rank=2)
    return fitted(made, folder, steps=8, lr=1e-2).requires_grad_(False)


def loss(made):
    return losses(made, batch(made.backbone.config.model_type), **MERGED).distortion.item()


@torch.inference_mode()
def logits(decoder, data):
    return decoder.logits(decoder.prompt(decoder.image(data), prompt_ids()))


@KINDS
def test_a_loaded_compressor_is_what_was_saved(kind, tmp_path):
    made = trained(kind, tmp_path)
    made.save_pretrained(tmp_path / "codec", storage="float32")
    again = Compressor.from_pretrained(tmp_path / "codec", tiny.model(kind))
    assert loss(again) == pytest.approx(loss(made), abs=1e-4)
    assert abs(loss(compressor(kind)) - loss(made)) > 1e-2  # the negative control: what was learned matters
    for name, value in made.codec.state_dict().items():
        assert torch.equal(value, again.codec.state_dict()[name])
    data = Encoder(made.backbone, made.codec).encode(shown(kind, *SIZES[2]), 6, 1)
    old, new = Decoder(made.backbone, made.codec), Decoder(again.backbone, again.codec)
    torch.testing.assert_close(logits(new, data), logits(old, data), rtol=1e-3, atol=1e-3)
    assert new.generate(new.prompt(new.image(data), prompt_ids())) == old.generate(
        old.prompt(old.image(data), prompt_ids())
    )


@KINDS
def test_each_party_loads_what_its_half_needs(kind, tmp_path):
    trained(kind, tmp_path).save_pretrained(tmp_path / "codec")
    whole = Compressor.from_pretrained(tmp_path / "codec", tiny.model(kind))
    device = Compressor.from_pretrained(tmp_path / "codec", device_half(tiny.model(kind)))
    server = Compressor.from_pretrained(tmp_path / "codec", server_half(tiny.model(kind)))
    inputs = shown(kind, *SIZES[0])
    data = Encoder(device.backbone, device.codec).encode(inputs, 6, 1)
    assert data == Encoder(whole.backbone, whole.codec).encode(inputs, 6, 1)
    expected = logits(Decoder(whole.backbone, whole.codec), data)
    assert torch.equal(logits(Decoder(server.backbone, server.codec), data), expected)


@pytest.mark.parametrize("storage", ["bfloat16", "int8"])
def test_smaller_storage_answers_nearly_alike(storage, tmp_path):
    made = trained("qwen2_vl", tmp_path)
    for name in ("float32", storage):
        made.save_pretrained(tmp_path / name, storage=name)
    sizes = [(tmp_path / name / WEIGHTS).stat().st_size for name in ("float32", storage)]
    assert sizes[1] < 0.6 * sizes[0]
    again = Compressor.from_pretrained(tmp_path / storage, tiny.model("qwen2_vl"))
    assert loss(again) == pytest.approx(loss(made), abs=0.05)


def test_a_loaded_compressor_can_learn_more(tmp_path):
    trained("qwen2_vl", tmp_path / "first").save_pretrained(tmp_path / "one", storage="float32")
    made = Compressor.from_pretrained(tmp_path / "one", tiny.model("qwen2_vl"))
    before = loss(made)
    made.prepare(vision_rank=2, text_rank=4)
    fitted(made, tmp_path / "second", steps=8, lr=1e-2)
    made.save_pretrained(tmp_path / "two", storage="float32")
    again = Compressor.from_pretrained(tmp_path / "two", tiny.model("qwen2_vl"))
    assert loss(again) == pytest.approx(loss(made), abs=1e-4)
    assert loss(again) < before - 1e-3
    down, out = again.folded["model.language_model.layers.0.mlp.up_proj"]
    assert (len(down), len(out)) == (2 + 4, 2 + 4)  # both trainings


def test_a_compressor_of_another_model_is_refused(tmp_path):
    compressor("llava").save_pretrained(tmp_path)
    with pytest.raises(WeightsError, match="'llava' model, not 'qwen2_vl'"):
        Compressor.from_pretrained(tmp_path, tiny.model("qwen2_vl"))
    with pytest.raises(WeightsError, match="another model"):
        Compressor.from_pretrained(tmp_path, tiny.model("llava", vision_feature_layer=[0, -1]))
    with pytest.raises(WeightsError, match="aiflow tofc train"):
        Compressor.from_pretrained(tmp_path / "nowhere", tiny.model("llava"))
    data = (tmp_path / WEIGHTS).read_bytes()
    (tmp_path / WEIGHTS).write_bytes(data[: len(data) // 2])
    with pytest.raises(WeightsError, match="cut short"):
        Compressor.from_pretrained(tmp_path, tiny.model("llava"))
