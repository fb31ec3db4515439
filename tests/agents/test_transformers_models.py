"""The transformers back end on what is not a plain causal LM: adapters, the embedded family, vision models."""

import asyncio
import io
import os
from pathlib import Path
from typing import Any

os.environ["HF_HUB_OFFLINE"] = "1"

import PIL.Image
import pytest
import torch
from peft import LoraConfig, get_peft_model
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    CLIPVisionConfig,
    LlamaConfig,
    LlamaForCausalLM,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedTokenizerFast,
)
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from aiflow import nano
from aiflow.agents.backends.transformers import TransformersBackend
from aiflow.agents.backends.transformers.batched import Batched
from aiflow.errors import InputError, UnknownModelError
from aiflow.types import Answer, Image, Message, Options

SIZES: dict[str, Any] = {
    "vocab_size": 300, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 256, "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 2,
    "initializer_range": 0.4,
}  # fmt: skip
CHAT = (
    "{% for m in messages %}{{ m['role'] }}: {% for c in m['content'] %}{% if c['type'] == 'image' %}<image>\n"
    "{% else %}{{ c['text'] }}{% endif %}{% endfor %} {% endfor %}ASSISTANT:"
)


def tokenizer() -> PreTrainedTokenizerFast:
    vocab = {c: i for i, c in enumerate(["<s>", "</s>", "<pad>", *sorted(pre_tokenizers.ByteLevel.alphabet())])}
    raw = Tokenizer(models.BPE(vocab=vocab, merges=[]))
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    made = PreTrainedTokenizerFast(tokenizer_object=raw, bos_token="<s>", eos_token="</s>", pad_token="<pad>")
    made.add_special_tokens({"additional_special_tokens": [AddedToken("<image>", normalized=False)]})
    return made


async def ask(backend: TransformersBackend, text: str, *images: Image, **options: Any) -> Answer:
    message = Message("user", text, images)
    items = [item async for item in backend.stream([message], Options(**options))]
    assert "".join(item.text for item in items[:-1]) == items[-1].text
    assert isinstance(items[-1], Answer)
    return items[-1]


def picture(colour: str) -> Image:
    data = io.BytesIO()
    PIL.Image.new("RGB", (40, 30), colour).save(data, "PNG")
    return Image(data.getvalue())


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A base model, a LoRA adapter over it, and the same two merged by hand."""
    root = tmp_path_factory.mktemp("lora")
    torch.manual_seed(0)
    base = LlamaForCausalLM(LlamaConfig(**SIZES))
    base.save_pretrained(root / "base")
    tuned = get_peft_model(base, LoraConfig(r=4, lora_alpha=8, target_modules=["q_proj", "up_proj"]))
    for name, weight in tuned.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.3)
    tuned.peft_config["default"].base_model_name_or_path = str(root / "base")
    tuned.save_pretrained(root / "adapter")
    tuned.merge_and_unload().save_pretrained(root / "merged")
    for name in ("base", "merged"):
        tokenizer().save_pretrained(root / name)
    return {name: str(root / name) for name in ("base", "adapter", "merged")}


async def answers(name: str) -> list[str]:
    backend = TransformersBackend(name)
    try:
        return [(await ask(backend, text, max_tokens=12)).text for text in ("one", "two plus two", "three")]
    finally:
        await backend.close()


async def test_an_adapter_answers_like_the_merged_model(
    folders: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    merged = await answers(folders["merged"])
    assert await answers(folders["adapter"]) == merged != await answers(folders["base"])
    family = {"nano/math": (folders["base"], folders["adapter"]), "nano/base": (folders["base"], None)}
    monkeypatch.setattr(nano, "resolve", family.__getitem__, raising=False)
    assert await answers("aiflow:nano/math") == merged
    assert await answers("aiflow:nano/base") == await answers(folders["base"])


def test_an_adapter_whose_base_is_missing(tmp_path: Path) -> None:
    for content in ('{"base_model_name_or_path": "/gone"}', "{}", "not json"):
        (tmp_path / "adapter_config.json").write_text(content)
        with pytest.raises(UnknownModelError, match=str(tmp_path)):
            TransformersBackend(str(tmp_path))


@pytest.fixture(scope="module")
def llava(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("llava")
    tok = tokenizer()
    torch.manual_seed(0)
    eye = CLIPVisionConfig(
        hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=2, image_size=28, patch_size=14
    )
    text = LlamaConfig(**SIZES)
    LlavaForConditionalGeneration(
        LlavaConfig(
            vision_config=eye,
            text_config=text,
            image_token_index=tok.convert_tokens_to_ids("<image>"),
            vision_feature_layer=-1,
            vision_feature_select_strategy="default",
            image_seq_length=4,
        )
    ).save_pretrained(path)
    LlavaProcessor(
        CLIPImageProcessorPil(size={"shortest_edge": 28}, crop_size={"height": 28, "width": 28}),
        tok,
        patch_size=14,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=CHAT,
    ).save_pretrained(path)
    return str(path)


async def test_a_vision_model_answers_about_images_in_company(llava: str) -> None:
    backend = TransformersBackend(llava)
    assert isinstance(backend._worker._runner, Batched)
    asked: list[Any] = [
        ("what?", picture("red")),
        ("what?", picture("blue")),
        ("what?",),
        ("a longer question?", picture("red")),
    ]
    alone = [await ask(backend, *a, max_tokens=12) for a in asked]
    together = await asyncio.gather(*(ask(backend, *a, max_tokens=12) for a in asked))
    assert [a.text for a in alone] == [a.text for a in together] == await _generated(backend, asked)
    assert alone[0].usage.prompt_tokens == alone[2].usage.prompt_tokens + 4 + 1  # four patches and the line break
    await backend.close()


async def test_an_images_token_has_no_probability(llava: str) -> None:
    backend = TransformersBackend(llava)
    loaded = backend._worker._loaded
    (silent,) = loaded.silent
    prompt = loaded.prompter([Message("user", "what?", (picture("red"),))])
    weight_VD = loaded.model.get_output_embeddings().weight.data

    def logits() -> torch.Tensor:
        with torch.no_grad():
            return loaded.model(input_ids=torch.tensor([prompt.ids]), **prompt.extra).logits[0, -1]  # type: ignore[no-any-return]

    weight_VD[silent] = 2 * weight_VD[logits().argmax()]
    assert logits().argmax() == silent
    logits_V = logits().index_fill(0, torch.tensor([silent]), -torch.inf)
    (place,) = (await ask(backend, "what?", picture("red"), max_tokens=1, top_logprobs=20)).logprobs
    wanted = logits_V.log_softmax(-1).topk(20)
    assert [text for text, _ in place] == [loaded.spell(i) for i in wanted.indices.tolist()]
    assert [logprob for _, logprob in place] == pytest.approx(wanted.values.tolist(), abs=2e-5)
    assert "<image>" not in dict(place)
    await backend.close()


async def _generated(backend: TransformersBackend, asked: list[Any]) -> list[str]:
    """What model.generate makes of the same prompts, if it must not say an image's token either."""
    loaded, texts = backend._worker._loaded, []
    for text, *images in asked:
        prompt = loaded.prompter([Message("user", text, tuple(images))])
        ids = torch.tensor([prompt.ids])
        out = loaded.model.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=12,
            do_sample=False,
            suppress_tokens=list(loaded.silent) or None,
            **prompt.extra,
        )
        texts.append(loaded.decode(out[0, ids.shape[1] :].tolist()).rstrip("\ufffd"))
    return texts


async def test_images_that_cannot_be_used(llava: str, folders: dict[str, str]) -> None:
    backend = TransformersBackend(llava)
    fine = asyncio.create_task(ask(backend, "what?", picture("red"), max_tokens=8))
    with pytest.raises(InputError, match="cannot be decoded"):
        await ask(backend, "what?", Image(picture("red").data[:60]))
    assert (await fine).usage.completion_tokens
    await backend.close()
    backend = TransformersBackend(folders["base"])
    with pytest.raises(InputError, match="reads text only"):
        await ask(backend, "what?", picture("red"))
    await backend.close()
