"""Collaborative decoding with models of other kinds: vision pairs, and those that only transformers itself can run."""

import io
from pathlib import Path
from typing import Any

import PIL.Image
import pytest
import speakers
import torch
from speakers import NAMES, emptied
from tokenizers import AddedToken
from transformers import (
    CLIPVisionConfig,
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    MistralConfig,
    MistralForCausalLM,
)
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from aiflow.agents.deployment import connect
from aiflow.errors import InputError

HOME = """
nodes: {phone: device, box: edge, hub: cloud}
links:
  - {between: [device, edge], rate: 2 MB/s, rtt: 0 ms}
  - {between: [edge, cloud], rate: 20 MB/s, rtt: 0 ms}
"""
SIZES: dict[str, Any] = {
    "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
    "max_position_embeddings": 256, "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 2, "initializer_range": 0.4,
}  # fmt: skip


def llava(folder: Path, seed: int, side: int = 28) -> str:
    tok = speakers.tokenizer(NAMES)
    tok.chat_template = None
    tok.add_special_tokens({"additional_special_tokens": [AddedToken("<image>", normalized=False)]})
    torch.manual_seed(seed)
    eye = CLIPVisionConfig(
        hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=2, image_size=side, patch_size=14
    )
    config = LlavaConfig(
        vision_config=eye,
        text_config=LlamaConfig(vocab_size=len(tok), num_key_value_heads=2, **SIZES),
        image_token_index=tok.convert_tokens_to_ids("<image>"),
        vision_feature_layer=-1,
        vision_feature_select_strategy="default",
        image_seq_length=(side // 14) ** 2,
    )
    LlavaForConditionalGeneration(config).eval().save_pretrained(folder)
    LlavaProcessor(
        CLIPImageProcessorPil(size={"shortest_edge": side}, crop_size={"height": side, "width": side}),
        tok,
        patch_size=14,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
    ).save_pretrained(folder)
    return str(folder)


def question(colour: str) -> dict[str, Any]:
    from aiflow.types import Image

    data = io.BytesIO()
    PIL.Image.new("RGB", (40, 30), colour).save(data, "PNG")
    image = Image(data.getvalue())
    return {"role": "user", "content": ["What?", {"type": "image_url", "image_url": image.url}]}


async def test_vision_pairs_send_the_image_once(tmp_path: Path) -> None:
    async with connect(HOME, local=True) as home:
        small = home.agent("small", node="phone", model=llava(tmp_path / "a", 0), options={"max_tokens": 12})
        same = home.agent("same", node="box", model=str(tmp_path / "a"), options={"max_tokens": 12})
        big = home.agent("big", node="hub", model=llava(tmp_path / "b", 1), options={"max_tokens": 12})
        wide = home.agent("wide", node="hub", model=llava(tmp_path / "c", 1, side=56))
        said = set()
        for colour in ("red", "blue"):
            alone = await big.ask([question(colour)], sender="phone")
            for judges in ([big], [same, big]):
                found = await small.speculative_decode([question(colour)], judges=judges)
                assert found.text == alone.text
            said.add(found.text)
            assert found.accepted >= 0
        assert len(said) == 2
        with pytest.raises(InputError, match="the images take 4 tokens at the device and 16 at the judge"):
            await small.speculative_decode([question("red")], judges=[wide])
        await emptied(small, same, big, wide)


async def test_models_of_other_kinds(tmp_path: Path) -> None:
    torch.manual_seed(0)
    neox = GPTNeoXForCausalLM(GPTNeoXConfig(vocab_size=len(NAMES), **SIZES)).eval()
    slides = MistralForCausalLM(
        MistralConfig(vocab_size=len(NAMES), num_key_value_heads=2, sliding_window=16, **SIZES)
    ).eval()
    async with connect(HOME, local=True, emulate=False) as home:
        small = home.agent("small", node="phone", model=speakers.save(tmp_path / "s", speakers.llama()))
        for name, model in {"neox": neox, "slides": slides}.items():
            judge = home.agent(name, node="hub", model=speakers.save(tmp_path / name, model))
            for text in ("one", "a longer question"):
                alone = await judge.ask(text, options={"max_tokens": 24})
                found = await small.speculative_decode(text, judges=[judge], options={"max_tokens": 24})
                assert found.text == alone.text
            back = await judge.speculative_decode("one", judges=[small], options={"max_tokens": 8})
            assert back.text == (await small.ask("one", options={"max_tokens": 8})).text


async def test_a_family_with_a_drafter_reads_ahead_and_says_the_same(tmp_path: Path) -> None:
    from aiflow.agents.backends.transformers import loading, speaking
    from aiflow.collaboration.decoding.ahead import AheadEngine
    from aiflow.collaboration.familial.drafter import Drafter
    from aiflow.collaboration.familial.family import Family

    family = Family(speakers.llama())
    family.save_pretrained(tmp_path / "big", storage="float32")
    speakers.tokenizer(NAMES).save_pretrained(tmp_path / "big")
    small = speakers.save(tmp_path / "small", speakers.llama(seed=1))
    async with connect(HOME, local=True, emulate=False) as home:
        device = home.agent("small", node="phone", model=small, options={"max_tokens": 24})
        plain = home.agent("plain", node="hub", model=str(tmp_path / "big"), options={"max_tokens": 24})
        alone = await plain.ask("one")
        Drafter(family.parts.config, width=3).save_pretrained(tmp_path / "big" / "drafter")
        ahead = home.agent("ahead", node="hub", model=str(tmp_path / "big"), options={"max_tokens": 24})
        found = await device.speculative_decode("one", judges=[ahead])
        assert (found.text, found.finish) == (alone.text, alone.finish)
        await emptied(device, ahead)
    loaded = loading.load(str(tmp_path / "big"), device="cpu", dtype="float32", max_context=None)
    assert isinstance(speaking.engine(loaded), AheadEngine)
    part = loading.load(f"{tmp_path / 'big'}#1:0", device="cpu", dtype="float32", max_context=None)
    assert part.drafter is None
    (tmp_path / "small" / "drafter").mkdir()  # a plain model's folder may hold anything of that name
    (tmp_path / "small" / "drafter" / "config.json").write_text("{}")
    assert loading.load(small, device="cpu", dtype="float32", max_context=None).drafter is None
