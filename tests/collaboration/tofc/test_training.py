"""Training on models of every kind: the loss is the model's own, everything learns, soft passes become real streams."""

import pytest
import torch

from aiflow.bench.tofc import tiny
from aiflow.collaboration.familial.training import TextBatch
from aiflow.collaboration.tofc.adapters.halves import device_half
from aiflow.collaboration.tofc.batches import Batch, Row, apart
from aiflow.collaboration.tofc.decoder import Decoder
from aiflow.collaboration.tofc.encoder import Encoder
from aiflow.collaboration.tofc.training import Objective, fit_codec, losses
from aiflow.errors import InputError
from aiflow.fitting import Recipe

from .learning import ALL, ANSWERS, SIZES, batch, compressor, fitted
from .seeing import codec_for, prompt_ids, shown

KINDS = pytest.mark.parametrize("kind", tiny.KINDS)
PLAIN = {"tokens": ALL, "level": None, "temperature": 1.0}


def place_count(made, inputs):
    return made.adapter.layout(made.adapter.size(inputs)).count


@torch.no_grad()
def models_own(made, rows):
    """The model's cross entropy on full prompts, by transformers' own labels, as a mean over all rows' tokens."""
    total = count = 0.0
    for row, answer in zip(rows, ANSWERS, strict=True):
        ids = torch.tensor([[*prompt_ids(place_count(made, row.inputs)), *answer]])
        labels = ids.clone()
        labels[:, : -len(answer)] = -100
        more = {"mm_token_type_ids": (ids == tiny.IMAGE).int()} if "qwen" in made.backbone.config.model_type else {}
        found = made.backbone(input_ids=ids, attention_mask=torch.ones_like(ids), labels=labels, **row.inputs, **more)
        total, count = total + found.loss.item() * len(answer), count + len(answer)
    return total / count


@KINDS
def test_all_features_without_quantisation_cost_the_models_own_loss(kind):
    made, rows = compressor(kind), batch(kind).rows
    full = Row(
        ids=[*prompt_ids(place_count(made, rows[1].inputs)), *ANSWERS[1]],
        weights=[*[0.0] * len(prompt_ids(place_count(made, rows[1].inputs))), *[1.0] * len(ANSWERS[1])],
        inputs=rows[1].inputs,
    )
    expected = models_own(made, rows)
    mixed = Batch(rows=(rows[0], full, rows[2]))  # one image token, or all of them
    assert losses(made, mixed, **PLAIN).distortion.item() == pytest.approx(expected, abs=1e-5)
    made.prepare(vision_rank=3, text_rank=2)  # adapters begin as nothing
    assert losses(made, mixed, **PLAIN).distortion.item() == pytest.approx(expected, abs=1e-5)
    # The negative controls: fewer features, and the images of other rows.
    assert abs(losses(made, mixed, **PLAIN | {"tokens": 3}).distortion.item() - expected) > 1e-3
    swapped = [Row(ids=a.ids, weights=a.weights, inputs=b.inputs) for a, b in zip(rows, rows[::-1], strict=True)]
    assert abs(losses(made, Batch(rows=tuple(swapped)), **PLAIN).distortion.item() - expected) > 1e-3


@KINDS
def test_rows_do_not_see_what_pads_them(kind):
    made, rows = compressor(kind), batch(kind).rows
    torch.manual_seed(0)
    alone = [losses(made, Batch(rows=(row,)), **PLAIN | {"tokens": 5}).distortion.item() for row in rows]
    both = losses(made, Batch(rows=rows), **PLAIN | {"tokens": 5}).distortion.item()
    sizes = [len(answer) for answer in ANSWERS]
    assert both == pytest.approx(sum(a * n for a, n in zip(alone, sizes, strict=True)) / sum(sizes), abs=1e-5)


@KINDS
def test_everything_that_should_learns_and_nothing_else(kind):
    made = compressor(kind)
    made.prepare(vision_rank=3, text_rank=2)
    found = losses(made, batch(kind), tokens=6, level=1, temperature=0.5)
    (found.distortion + 1e-3 * found.bits + found.balance).backward()
    reached = {name for name, p in made.named_parameters() if p.grad is not None and bool(p.grad.abs().sum() > 0)}
    learns = {name for name, p in made.named_parameters() if p.requires_grad}
    later = {name for name in learns if "lora_A" in name} | {"codec.step.0"}  # behind a zero; of another level
    assert learns - reached == later
    ranks = {"vision": set(), "text": set()}
    for name, p in made.named_parameters():
        if "lora_A" in name:
            ranks["text" if "language_model" in name else "vision"].add(len(p))
    assert ranks == {"vision": {3}, "text": {2}}
    projector = {f"{id(p)}" for p in made.parts.projector.parameters()}
    others = {n for n, p in made.named_parameters() if not n.startswith("codec.") and str(id(p)) not in projector}
    assert all(("lora_" in name) == (name in learns) for name in others)
    assert not any("lora_" in name and ("merger" in name or "projector" in name) for name in others)


def test_every_linear_of_every_block_has_an_adapter():
    expected = {
        "llava": {"q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2"},
        "llava_onevision": {"q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2"},
        "qwen2_vl": {"qkv", "proj", "fc1", "fc2"},
        "qwen2_5_vl": {"qkv", "proj", "gate_proj", "up_proj", "down_proj"},
    }
    text = {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}
    for kind, tower in expected.items():
        made = compressor(kind)
        made.prepare(vision_rank=1, text_rank=1)
        found = [n.split(".") for n, _ in made.named_parameters() if n.endswith("lora_A.default.weight")]
        assert {n[-4] for n in found if "language_model" not in n} == tower
        assert {n[-4] for n in found if "language_model" in n} == text
        assert len(found) == 2 * (len(tower) + len(text))  # two blocks each


@KINDS
def test_training_lowers_loss_and_rate(kind, tmp_path):
    made = compressor(kind)
    made.prepare(vision_rank=3, text_rank=2)

    @torch.no_grad()
    def measured():
        torch.manual_seed(0)
        found = [losses(made, batch(kind), tokens=t, level=q, temperature=0.1) for t in (3, 6) for q in (0, 1)]
        return [sum(f.distortion.item() for f in found), sum(f.bits.item() for f in found)]

    before = measured()
    fitted(made, tmp_path)
    after = measured()
    assert after[0] < 0.5 * before[0]
    assert after[1] < 0.9 * before[1]


@KINDS
def test_a_cold_pass_is_what_crosses_as_bytes(kind):
    made = compressor(kind)
    made.codec.load_state_dict(codec_for(made.backbone, levels=2, models=3, hidden=12).state_dict())
    given = batch(kind)
    encoder, decoder = Encoder(device_half(made.backbone), made.codec), Decoder(made.backbone, made.codec)
    for tokens, level in ((3, 0), (6, 1), (9, 1)):
        images = [decoder.image(encoder.encode(row.inputs, tokens, level)) for row in given.rows]
        with torch.no_grad():
            read, warm = (
                apart(made, given, tokens=tokens, level=level, temperature=t, autocast=False) for t in (1e-6, 1.0)
            )
        sent = torch.cat([tile.x_MC for image in images for tile in image.tiles])
        torch.testing.assert_close(read.x, sent, rtol=1e-4, atol=1e-4)
        assert (warm.x - sent).abs().max() > 1e-3  # a warm router mixes
        for b, (image, row) in enumerate(zip(images, given.rows, strict=True)):
            prompt = decoder.prompt(image, row.ids)
            S = prompt.embeds_1SH.shape[1] - 1  # the last token predicts nothing
            assert torch.equal(read.positions[..., b, :S], prompt.positions[..., 0, :-1])
            assert torch.equal(read.ids_BS[b, 1:S], read.targets_BS[b, : S - 1])
        prompts = [decoder.prompt(image, row.ids) for image, row in zip(images, given.rows, strict=True)]
        with torch.no_grad():
            h_BSH = made.place(read.ids_BS, sent, read.what_P)
        for h_SH, prompt in zip(h_BSH, prompts, strict=True):
            theirs_SH = prompt.embeds_1SH[0, :-1]
            torch.testing.assert_close(h_SH[: len(theirs_SH)], theirs_SH, rtol=1e-5, atol=1e-5)


def test_images_as_one_tensor_and_apart_cost_the_same():
    made, rows = compressor("llava"), batch("llava").rows
    N, width = place_count(made, rows[0].inputs), max(len(answer) for answer in ANSWERS)
    ids, weights = torch.zeros(3, len(prompt_ids(N)) + width, dtype=torch.long), torch.zeros(3, 25 + width)
    for b, answer in enumerate(ANSWERS):
        full = [*prompt_ids(N), *answer]
        ids[b, : len(full)] = torch.tensor(full)
        weights[b, len(full) - len(answer) : len(full)] = 1
    one = TextBatch.of(ids, weights, torch.cat([row.inputs["pixel_values"] for row in rows]))
    for tokens, level in ((4, 0), (6, 1), (16, None)):
        found = []
        for given in (one, Batch(rows=rows)):
            torch.manual_seed(5)
            found.append(losses(made, given, tokens=tokens, level=level, temperature=0.3))
        for name in ("distortion", "bits", "balance"):
            assert getattr(found[0], name).item() == pytest.approx(getattr(found[1], name).item(), rel=1e-5)


@pytest.mark.parametrize("kind", ["llava", "qwen2_5_vl"])
def test_half_precision_models_learn_in_single(kind):
    made = compressor(kind)
    expected = losses(made, batch(kind), **PLAIN).distortion.item()
    made.backbone.to(torch.bfloat16)
    made.prepare(vision_rank=3, text_rank=2)
    assert {p.dtype for p in made.parameters() if p.requires_grad} == {torch.float32}
    found = losses(made, batch(kind), **PLAIN, autocast=True)
    assert found.distortion.item() == pytest.approx(expected, rel=0.1)
    found.distortion.backward()
    assert all(p.grad.isfinite().all() for p in made.parameters() if p.grad is not None)


def test_a_killed_training_continues_exactly(tmp_path):
    straight, broken = compressor("qwen2_vl"), compressor("qwen2_vl")
    for made in (straight, broken):
        torch.manual_seed(7)
        made.prepare(vision_rank=2, text_rank=2)
    fitted(straight, tmp_path / "a", steps=6)
    fitted(broken, tmp_path / "b", steps=6, stop=3)
    again = compressor("qwen2_vl")
    again.prepare(vision_rank=2, text_rank=2)
    fitted(again, tmp_path / "b", steps=6)
    for (name, a), (_, b) in zip(straight.named_parameters(), again.named_parameters(), strict=True):
        assert torch.equal(a, b), name


def test_what_cannot_be_trained_is_refused(tmp_path):
    made = compressor("qwen2_vl")
    row = batch("qwen2_vl").rows[0]
    silent = Row(ids=row.ids, weights=[0.0] * len(row.ids), inputs=row.inputs)
    cut = Row(ids=row.ids[:5], weights=row.weights[:5], inputs=row.inputs)
    blind = Row(ids=(3, 4), weights=(1, 1), inputs=row.inputs)
    odd = Row(ids=row.ids, weights=[1.0], inputs=row.inputs)
    for bad, words in ((silent, "loss weight"), (cut, "end with text"), (blind, "0 image tokens"), (odd, "1 weights")):
        with pytest.raises(InputError, match=words):
            losses(made, Batch(rows=(bad,)), **PLAIN)
    ids = torch.tensor([prompt_ids(6)])
    one = TextBatch.of(ids, torch.ones(ids.shape), shown("llava", *SIZES[0])["pixel_values"])
    with pytest.raises(InputError, match=r"tofc\.batches\.Batch"):
        losses(made, one, **PLAIN)
    with pytest.raises(InputError, match="at least 1"):
        made.prepare(vision_rank=0, text_rank=2)
    made.prepare(vision_rank=2, text_rank=2)
    with pytest.raises(InputError, match="earlier training"):
        made.prepare(vision_rank=2, text_rank=2)
    with pytest.raises(InputError, match="one per level"):
        fit_codec(made, lambda _: iter([]), Recipe(steps=1, lr=1.0), Objective(rates=(1.0,)), checkpoint=tmp_path / "x")
