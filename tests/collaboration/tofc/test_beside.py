"""A compressor beside its model: the halves do what the whole does, and the model stays as it is."""

import copy

import pytest
import torch

from aiflow.bench.tofc import tiny
from aiflow.collaboration.familial.kinds import with_blocks
from aiflow.collaboration.tofc.adapters import adapter
from aiflow.collaboration.tofc.adapters.halves import device_half, server_half
from aiflow.collaboration.tofc.beside import beside
from aiflow.collaboration.tofc.codec import CodecConfig
from aiflow.collaboration.tofc.decoder import Decoder
from aiflow.collaboration.tofc.encoder import Encoder
from aiflow.collaboration.tofc.model import Compressor
from aiflow.errors import WeightsError

from .seeing import prompt_ids, shown


@pytest.fixture
def saved(tmp_path):
    model = tiny.model("llava")
    torch.manual_seed(5)
    config = CodecConfig(channels=adapter(model).channels, basis=8, hidden=12, hyper=4, levels=2)
    made = Compressor(copy.deepcopy(model), config)
    made.prepare(vision_rank=2, text_rank=2)
    with torch.no_grad():
        for name, weight in made.backbone.named_parameters():
            if "lora_B" in name or "projector" in name:
                weight += 0.3 * torch.randn_like(weight)
    made.save_pretrained(tmp_path, storage="float32")
    return model, tmp_path


def weights(model):
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def own(half, model):
    """Parameters that the half does not share with the model, by name."""
    shared = {id(p) for p in model.parameters()}
    return {name for name, p in half.named_parameters() if id(p) not in shared}


def test_halves_say_what_the_whole_says_and_the_model_stays(saved):
    model, folder = saved
    before = weights(model)
    device, server = beside(folder, device_half(model)), beside(folder, server_half(model))
    whole = Compressor.from_pretrained(folder, copy.deepcopy(model))
    inputs = shown("llava")
    data = Encoder(device.backbone, device.codec).encode(inputs, 6, 1)
    assert data == Encoder(whole.backbone, whole.codec).encode(inputs, 6, 1)
    assert data != Encoder(model, whole.codec).encode(inputs, 6, 1)  # without the tower's adapters
    told, expected, plain = (
        decoder.logits(decoder.prompt(decoder.image(data), prompt_ids()))
        for decoder in (
            Decoder(server.backbone, server.codec),
            Decoder(whole.backbone, whole.codec),
            Decoder(model, whole.codec),
        )
    )
    torch.testing.assert_close(told, expected)
    assert not torch.allclose(plain, expected, atol=1e-3)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_only_what_changes_is_copied(saved):
    model, folder = saved
    device, server = beside(folder, device_half(model)), beside(folder, server_half(model))
    mine = own(device.backbone, model)
    assert any("vision_tower" in name for name in mine)
    assert not any("embeddings" in name or "norm" in name for name in mine)
    theirs = own(server.backbone, model)
    assert not any(
        "vision_tower" in name or "norm" in name or "embed_tokens" in name or "lm_head" in name for name in theirs
    )
    assert {name.split(".")[1] for name in theirs} == {"language_model", "multi_modal_projector"}


def test_a_device_needs_no_blocks_and_a_server_all(saved):
    model, folder = saved
    short = with_blocks(model, list(model.model.language_model.layers)[:1])
    data = [
        Encoder(made.backbone, made.codec).encode(shown("llava"), 4, 0)
        for made in (beside(folder, device_half(m)) for m in (model, short))
    ]
    assert data[0] == data[1]
    before = weights(short)
    with pytest.raises(WeightsError, match="does not fit this model"):
        beside(folder, server_half(short))
    assert all(torch.equal(tensor, before[name]) for name, tensor in short.state_dict().items())


def test_other_folders_and_models(saved, tmp_path):
    model, folder = saved
    with pytest.raises(WeightsError, match="no feature codec"):
        beside(tmp_path / "nothing", device_half(model))
    with pytest.raises(WeightsError, match="not 'qwen2_vl'"):
        beside(folder, server_half(tiny.model("qwen2_vl")))
