"""Device and server: real bytes between halves of every kind of model, answers, and what the server refuses."""

import pytest
import torch

from aiflow.bench.tofc import tiny
from aiflow.collaboration.familial.training import TextBatch
from aiflow.collaboration.tofc.adapters import adapter
from aiflow.collaboration.tofc.adapters.halves import device_half, server_half
from aiflow.collaboration.tofc.codec import CodecConfig
from aiflow.collaboration.tofc.decoder import Decoder
from aiflow.collaboration.tofc.encoder import Encoder
from aiflow.collaboration.tofc.message import frame, unframe
from aiflow.collaboration.tofc.model import Compressor
from aiflow.collaboration.tofc.stream import Coder
from aiflow.collaboration.tofc.training import losses
from aiflow.errors import ChecksumError, InputError, MessageError, ProtocolError, TruncatedError

from .seeing import TEXT, codec_for, prompt_ids, seen_by_the_model, shown, whole

KINDS = pytest.mark.parametrize("kind", tiny.KINDS)


def parties(kind, **changes):
    model = tiny.model(kind, **changes)
    codec = codec_for(model)
    return model, codec, Encoder(device_half(model), codec), Decoder(server_half(model), codec)


@KINDS
def test_an_image_crosses_as_bytes_and_is_read_at_its_own_places(kind):
    model, codec, encoder, decoder = parties(kind)
    inputs = shown(kind, 150, 161)
    data = encoder.encode(inputs, tokens=10, level=1)
    image = decoder.image(data)
    own, coder = adapter(model), Coder(codec)
    assert image.size == own.size(inputs)
    with torch.inference_mode():
        expected = coder.decode(coder.encode(own.tiles(inputs), 10, 1)).tiles
    assert all(torch.equal(a.x_MC, b.x_MC) for a, b in zip(image.tiles, expected, strict=True))

    prompt = decoder.prompt(image, prompt_ids())
    M = sum(len(tile.x_MC) for tile in image.tiles)
    places, _ = image.layout.stay([tile.places_M for tile in image.tiles])
    S = len(TEXT[0]) + len(places) + len(TEXT[1])
    assert M == 10 or (kind == "llava_onevision" and 10 >= M >= len(image.tiles))  # each tile rounds its share
    assert prompt.embeds_1SH.shape == (1, S, 32)
    N = image.layout.count
    full = own.positions(torch.tensor([prompt_ids(N)]), image.size)
    columns = [*range(4), *(4 + places), *range(4 + N, 4 + N + 5)]
    assert torch.equal(prompt.positions, full[..., columns])
    assert decoder.logits(prompt).shape == (1, S, tiny.VOCABULARY)
    assert bool(decoder.logits(prompt).isfinite().all())


@KINDS
def test_one_image_token_is_as_good_as_all(kind):
    _, _, encoder, decoder = parties(kind)
    image = decoder.image(encoder.encode(shown(kind), tokens=3, level=0))
    one, all_ = (decoder.prompt(image, prompt_ids(n)) for n in (1, image.layout.count))
    assert torch.equal(one.embeds_1SH, all_.embeds_1SH)
    assert torch.equal(one.positions, all_.positions)


@KINDS
def test_all_features_are_answered_as_by_the_model_itself(kind):
    model, _, _, decoder = parties(kind)
    inputs = shown(kind)
    image = whole(model, inputs)
    given = seen_by_the_model(model, inputs, image.layout.count)
    theirs = model.generate(**given, max_new_tokens=12, do_sample=False, eos_token_id=-1, pad_token_id=0)
    ours = decoder.generate(decoder.prompt(image, prompt_ids()), limit=12, stop=())
    assert len(set(ours)) > 2
    assert list(ours) == theirs[0, given["input_ids"].shape[1] :].tolist()


@KINDS
@torch.inference_mode()
def test_an_answer_goes_on_at_the_positions_of_the_full_prompt(kind):
    model, _, encoder, decoder = parties(kind)
    prompt = decoder.prompt(decoder.image(encoder.encode(shown(kind), tokens=4, level=1)), prompt_ids())
    said = decoder.generate(prompt, limit=8, stop=())
    embeds, positions = prompt.embeds_1SH, prompt.positions
    text, head = adapter(model).parts.text, model.lm_head
    for token in said:
        mask = torch.ones(embeds.shape[:2], dtype=torch.long)
        out = text(inputs_embeds=embeds, position_ids=positions, attention_mask=mask, use_cache=False)
        assert int(head(out.last_hidden_state)[0, -1].argmax()) == token
        embeds = torch.cat([embeds, text.embed_tokens(torch.tensor([[token]]))], 1)
        positions = torch.cat([positions, positions[..., -1:] + 1], -1)


@KINDS
def test_text_reads_across_the_gaps_between_places(kind):
    _, _, encoder, decoder = parties(kind)
    image = decoder.image(encoder.encode(shown(kind), tokens=2, level=1))
    other = [TEXT[0][0] + 1, *prompt_ids()[1:]]
    a, b = (decoder.logits(decoder.prompt(image, ids))[0, -1] for ids in (prompt_ids(), other))
    assert (a - b).abs().max() > 1e-3


def test_training_reads_across_the_gaps_too():
    backbone = tiny.model("llava")
    torch.manual_seed(0)
    made = Compressor(backbone, CodecConfig(channels=16, basis=8, hidden=12, hyper=4, levels=2))
    pixels = shown("llava")["pixel_values"]

    def loss(first):
        ids = torch.tensor([[first, *prompt_ids(16)[1:]]])
        weights = torch.zeros(ids.shape)
        weights[0, -1] = 1
        batch = TextBatch(ids_BT=ids, targets_BT=ids, weights_BT=weights, pixel_values=pixels)
        return losses(made, batch, tokens=2, level=None, temperature=1.0).distortion.item()

    assert abs(loss(5) - loss(6)) > 1e-3


def test_sampled_answers_follow_their_seed_and_leave_torch_alone():
    _, _, encoder, decoder = parties("qwen2_vl")
    prompt = decoder.prompt(decoder.image(encoder.encode(shown("qwen2_vl"), tokens=4, level=1)), prompt_ids())
    before = torch.random.get_rng_state()
    said = [decoder.generate(prompt, limit=10, stop=(), temperature=1.5, seed=seed) for seed in (1, 1, 2)]
    assert torch.equal(before, torch.random.get_rng_state())
    assert said[0] == said[1] != said[2]


def test_an_answer_ends_before_its_stop_token():
    _, _, encoder, decoder = parties("llava")
    prompt = decoder.prompt(decoder.image(encoder.encode(shown("llava"), tokens=4, level=1)), prompt_ids())
    said = decoder.generate(prompt, limit=12, stop=())
    assert decoder.generate(prompt, limit=12, stop=[said[3]]) == said[: said.index(said[3])]


def test_an_image_with_fewer_features_keeps_all():
    _, _, encoder, decoder = parties("qwen2_vl")
    image = decoder.image(encoder.encode(shown("qwen2_vl"), tokens=32, level=0))
    assert image.tiles[0].places_M.tolist() == list(range(6))


def test_a_message_of_llava_is_the_stream_and_others_add_the_size_alone():
    for kind, more in (("llava", 0), ("qwen2_vl", 2), ("llava_onevision", 2)):
        model, codec, encoder, _ = parties(kind)
        with torch.inference_mode():
            stream = Coder(codec).encode(adapter(model).tiles(shown(kind)), 6, 1)
        data = encoder.encode(shown(kind), tokens=6, level=1)
        assert len(data) == len(stream) + more
        assert (data == stream) == (kind == "llava")


@KINDS
def test_damaged_bytes_are_refused_and_change_nothing(kind):
    _, _, encoder, decoder = parties(kind)
    data = encoder.encode(shown(kind), tokens=5, level=1)
    before = decoder.generate(decoder.prompt(decoder.image(data), prompt_ids()), limit=4)
    for i in range(len(data)):
        with pytest.raises(ProtocolError):
            decoder.image(data[:i] + bytes([data[i] ^ 1 << i % 8]) + data[i + 1 :])
        with pytest.raises(ProtocolError):
            decoder.image(data[:i])
    with pytest.raises(ProtocolError):
        decoder.image(data + b"\0")
    assert decoder.generate(decoder.prompt(decoder.image(data), prompt_ids()), limit=4) == before


def test_a_size_that_does_not_fit_the_features_is_refused():
    for kind, wrong in (("qwen2_vl", (3, 3)), ("qwen2_vl", (0, 6)), ("llava_onevision", (200, 50))):
        model, codec, encoder, decoder = parties(kind)
        mark = Coder(codec).fingerprint
        size, stream = unframe(encoder.encode(shown(kind), tokens=5, level=1), 2, mark)
        assert size == adapter(model).size(shown(kind))
        with pytest.raises(MessageError):
            decoder.image(frame(wrong, stream, mark))


def test_the_stream_of_another_codec_is_refused():
    model, _, encoder, _ = parties("llava")
    with pytest.raises(ChecksumError):
        Decoder(model, codec_for(model, seed=4)).image(encoder.encode(shown("llava"), tokens=5, level=1))


@pytest.mark.parametrize("size", [(), (0,), (127, 128), (16383, 16384), (2**28 - 1, 1)])
def test_sizes_cross_whole(size):
    message = frame(size, b"stream" + b"crc.", 7)
    again, stream = unframe(message, len(size), 7)
    assert (again, stream[:-4]) == (size, b"stream")


def test_frames_that_no_one_sends_are_refused():
    def signed(body):
        return frame((), body + b"crc.", 7)

    with pytest.raises(MessageError, match="longer"):
        unframe(signed(b"\x85\x00stream"), 1, 7)
    with pytest.raises(MessageError, match="too long"):
        unframe(signed(b"\xff\xff\xff\xff\xff\x01"), 1, 7)
    with pytest.raises(TruncatedError):
        unframe(signed(b"\x01"), 1, 7)
    with pytest.raises(TruncatedError):
        unframe(b"", 0, 7)


def test_prompts_that_do_not_fit_are_refused():
    _, _, encoder, decoder = parties("llava")
    image = decoder.image(encoder.encode(shown("llava"), tokens=5, level=1))
    image_token = tiny.IMAGE
    for ids in (
        [],
        [1, 2],
        [*[image_token] * 3, 4],
        [image_token, 4, image_token],
        [image_token, 60],
        [image_token, -1],
    ):
        with pytest.raises(InputError):
            decoder.prompt(image, ids)
    with pytest.raises(InputError, match="its image"):
        decoder.generate(decoder.prompt(image, [4, image_token]))
    prompt = decoder.prompt(image, prompt_ids())
    for options in ({"limit": 0}, {"temperature": -1.0}):
        with pytest.raises(InputError):
            decoder.generate(prompt, **options)
    with pytest.raises(InputError):
        encoder.encode(shown("llava"), tokens=0, level=0)
    with pytest.raises(InputError):
        encoder.encode(shown("llava"), tokens=4, level=2)
