"""Adapters: all features, neither merged nor quantised, give each model's own logits; where features stand."""

import pytest
import torch
import transformers as hf
from hypothesis import given, settings
from hypothesis import strategies as st

from aiflow.bench.tofc import tiny
from aiflow.collaboration.tofc.adapters import adapter
from aiflow.collaboration.tofc.adapters.halves import device_half, server_half
from aiflow.collaboration.tofc.adapters.layout import Layout
from aiflow.collaboration.tofc.adapters.llava_onevision import WHOLE
from aiflow.collaboration.tofc.decoder import Decoder
from aiflow.errors import InputError, UnsupportedModelError

from .seeing import codec_for, prompt_ids, seen_by_the_model, shown, whole

SIZES = ((61, 83), (200, 50), (30, 170), (150, 161))


@torch.inference_mode()
def difference(model, inputs, image=None, **more):
    """Largest difference between the model's own logits and those over the adapter's features."""
    image = image or whole(device_half(model), inputs)
    decoder = Decoder(server_half(model), codec_for(model))
    ours = decoder.logits(decoder.prompt(image, prompt_ids()))
    theirs = model(**seen_by_the_model(model, inputs, image.layout.count), **more).logits
    assert ours.shape == theirs.shape
    return (ours - theirs).abs().max().item()


@pytest.mark.parametrize("kind", tiny.KINDS)
def test_all_features_give_the_models_own_logits(kind, tmp_path):
    tiny.model(kind).save_pretrained(tmp_path)
    model = getattr(hf, type(tiny.model(kind)).__name__).from_pretrained(tmp_path, dtype=torch.float32)
    for size in SIZES:
        assert difference(model, shown(kind, *size)) <= 1e-4


@pytest.mark.parametrize("decoder", ["llama", "qwen2", "mistral"])
@pytest.mark.parametrize("layers", [-2, [0, -1]])
@pytest.mark.parametrize("strategy", ["default", "full"])
def test_llava_over_any_decoder_and_features_of_any_layers(decoder, layers, strategy):
    changes = {"vision_feature_layer": layers, "vision_feature_select_strategy": strategy}
    model = tiny.model("llava", decoder=decoder, **changes)
    assert adapter(model).layout(()).count == 16 + (strategy == "full")
    assert difference(model, shown("llava")) <= 1e-4


def test_a_onevision_image_that_is_not_cut_up_ends_with_a_newline():
    model, inputs = tiny.model("llava_onevision"), shown("llava_onevision")
    inputs["pixel_values"] = inputs["pixel_values"][:, :1]
    assert adapter(model).size(inputs) == WHOLE
    # The model sees an image as one of several by ``batch_num_images`` alone.
    assert difference(model, {**inputs, "batch_num_images": torch.tensor([2])}) <= 1e-4


@pytest.mark.parametrize("size", [(61, 83), (200, 50), (150, 161)])
def test_a_shrunk_grid_differs_only_by_the_projectors_bend(size):
    model, inputs = tiny.model("llava_onevision", vision_aspect_ratio="anyres_max_2"), shown("llava_onevision", *size)
    image = whole(model, inputs)
    assert image.layout.count < adapter(tiny.model("llava_onevision")).layout(image.size).count
    assert difference(model, inputs, image) > 1e-3
    model.model.multi_modal_projector.act = torch.nn.Identity()
    assert difference(model, inputs, image) <= 1e-4


@pytest.mark.parametrize("kind", tiny.KINDS)
def test_features_in_another_order_are_noticed(kind):
    model, inputs = tiny.model(kind), shown(kind)
    image = whole(model, inputs)
    x_MC = image.tiles[-1].x_MC
    x_MC[[0, 1]] = x_MC[[1, 0]]
    assert difference(model, inputs, image) > 1e-3


def test_qwen_positions_have_three_dimensions_and_windows_do_not_reorder_features():
    model, inputs = tiny.model("qwen2_5_vl"), shown("qwen2_5_vl", 150, 161)
    own = adapter(model)
    rows, columns = own.size(inputs)
    assert min(rows, columns) > 2  # more than one window
    positions = own.positions(torch.tensor([prompt_ids(rows * columns)]), (rows, columns))[:, 0]
    image = positions[:, 4 : 4 + rows * columns]
    assert torch.equal(image[1] - 4, torch.arange(rows).repeat_interleave(columns))
    assert torch.equal(image[2] - 4, torch.arange(columns).repeat(rows))
    tower = model.model.visual(inputs["pixel_values"], grid_thw=inputs["image_grid_thw"])
    windows = tower.last_hidden_state.reshape(rows * columns, -1)
    (x_NC,) = own.tiles(inputs)
    assert not torch.equal(x_NC, windows)
    assert torch.allclose(own.project(x_NC), tower.pooler_output, atol=1e-6)


@given(height=st.integers(1, 700), width=st.integers(1, 700), most=st.sampled_from([1, 2, 9]))
@settings(max_examples=60, deadline=None)
def test_every_place_of_a_onevision_image_is_taken_once(height, width, most):
    model = ONEVISION[most]
    layout = adapter(model).layout((height, width))
    taken = torch.cat([*layout.tiles, layout.newlines_R]).sort().values
    assert torch.equal(taken, torch.arange(layout.count))
    packed, _ = model.model.pack_image_features(
        [torch.zeros(adapter(model)._tiles((height, width)), 16, 4)],
        [(height, width)],
        image_newline=torch.zeros(4),
        vision_aspect_ratio=f"anyres_max_{most}",
    )
    assert layout.count == len(packed[0])
    assert all(bool((tile.diff() > 0).all()) for tile in layout.tiles)


ONEVISION = {n: tiny.model("llava_onevision", vision_aspect_ratio=f"anyres_max_{n}") for n in (1, 2, 9)}


def test_a_newline_stays_where_a_feature_of_its_row_does():
    # A whole image of 2 features, then two tiles side by side: rows of 1 + 2 features, a newline behind each.
    layout = Layout(
        tiles=(torch.arange(2), torch.tensor([2, 6]), torch.tensor([3, 4, 7, 8])),
        newlines_R=torch.tensor([5, 9]),
        row=3,
    )
    assert (layout.count, layout.features) == (10, (2, 2, 4))
    places, what = layout.stay([torch.tensor([1]), torch.tensor([1]), torch.tensor([2])])
    assert (places.tolist(), what.tolist()) == ([1, 6, 7, 9], [0, 1, 2, -1])
    places, what = layout.stay([torch.arange(2), torch.arange(2), torch.arange(4)])
    assert places.tolist() == list(range(10))
    assert what.tolist() == [0, 1, 2, 4, 5, -1, 3, 6, 7, -1]


@pytest.mark.parametrize("kind", tiny.KINDS)
def test_inputs_of_another_shape_are_refused(kind):
    own, inputs = adapter(tiny.model(kind)), shown(kind)
    for bad in ({}, {**inputs, "pixel_values": None}, {**inputs, "pixel_values": inputs["pixel_values"][..., :5]}):
        with pytest.raises(InputError, match="image processor"):
            own.tiles(bad)


def test_sizes_that_no_image_has_are_refused():
    for kind, size in (("llava_onevision", (0, 5)), ("qwen2_vl", (5, 0)), ("qwen2_5_vl", (1, 2**27))):
        with pytest.raises(InputError, match=str(max(size))):
            adapter(tiny.model(kind)).layout(size)


def test_kinds_without_an_adapter_say_so():
    for config, words in (
        (hf.Qwen3VLConfig(), "DeepStack"),
        (hf.LlamaConfig(), "llava_onevision, qwen2_vl"),
        (hf.LlavaConfig(vision_config=hf.PixtralVisionConfig()), "clip_vision_model"),
    ):
        with pytest.raises(UnsupportedModelError, match=words):
            adapter(Named(config))
    with pytest.raises(InputError, match="16 channels"):
        adapter(tiny.model("qwen2_vl"), 16)


class Named:
    """A model of which only the config is looked at."""

    def __init__(self, config):
        self.config = config
