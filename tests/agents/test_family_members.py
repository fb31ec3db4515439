"""Members of a family, and levels of a nested model, behind the transformers back end."""

import asyncio
import os
from pathlib import Path
from typing import Any

os.environ["HF_HUB_OFFLINE"] = "1"

import io

import PIL.Image
import pytest
import torch
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

from aiflow.agents.backends.transformers import TransformersBackend, loading
from aiflow.agents.backends.transformers.batched import Batched
from aiflow.collaboration.familial.branching import initialise
from aiflow.collaboration.familial.decompose import Method, decompose
from aiflow.collaboration.familial.family import Family, Member
from aiflow.collaboration.familial.store import Reader
from aiflow.errors import InputError, UnknownModelError
from aiflow.types import Answer, Image, Message, Options

SIZES: dict[str, Any] = {
    "vocab_size": 100, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 4, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 256, "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 2,
    "initializer_range": 0.4,
}  # fmt: skip
MEMBERS = ("1", "2", "2:0.5", "3", "")
QUESTIONS = ("one", "two plus two", "three")


def tokenizer() -> PreTrainedTokenizerFast:
    ascii_ = [*map(chr, range(33, 127)), "\u0120", "\u010a"]  # the last: space, line break
    vocab = {c: i for i, c in enumerate(["<s>", "</s>", "<pad>", *ascii_])}
    raw = Tokenizer(models.BPE(vocab=vocab, merges=[]))
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    made = PreTrainedTokenizerFast(tokenizer_object=raw, bos_token="<s>", eos_token="</s>", pad_token="<pad>")
    made.add_special_tokens({"additional_special_tokens": [AddedToken("<image>", normalized=False)]})
    return made


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A text family, a nested model, and the plain model that both come from."""
    root = tmp_path_factory.mktemp("family")
    torch.manual_seed(0)
    model = LlamaForCausalLM(LlamaConfig(**SIZES)).eval()
    model.save_pretrained(root / "plain")
    made = Family(model)
    initialise(made, {1: 0.75, 2: 0.75, 3: 0.75}, [], whiten=False)
    made.save_pretrained(root / "family", storage="float32")
    decompose(root / "plain", root / "nested", [], levels=(0.4, 0.8), method=Method(whitening="plain"))
    for name in ("plain", "family", "nested"):
        tokenizer().save_pretrained(root / name)
    return {name: str(root / name) for name in ("plain", "family", "nested")}


async def ask(backend: TransformersBackend, text: str, *images: Image) -> str:
    message = Message("user", text, images)
    last = [item async for item in backend.stream([message], Options(max_tokens=10))][-1]
    assert isinstance(last, Answer)
    return last.text


async def answers(name: str) -> list[str]:
    backend = TransformersBackend(name)
    try:
        return [await ask(backend, text) for text in QUESTIONS]
    finally:
        await backend.close()


def generated(model: Any, text: str) -> str:
    tok = tokenizer()
    ids = tok(f"User: {text}\nAssistant:", return_tensors="pt")
    out = model.generate(**ids, max_new_tokens=10, do_sample=False, pad_token_id=2)
    said: str = tok.decode(out[0, ids["input_ids"].shape[1] :], skip_special_tokens=True)
    return said.split("\nUser:")[0]


@pytest.mark.parametrize("part", MEMBERS)
async def test_a_member_answers_as_generate_does(folders: dict[str, str], part: str) -> None:
    family = Family.from_pretrained(folders["family"])
    model = family.member(Member.parse(part or "4"))
    assert await answers(folders["family"] + (part and f"#{part}")) == [generated(model, q) for q in QUESTIONS]


async def test_members_differ_and_the_full_one_is_the_plain_model(folders: dict[str, str]) -> None:
    said = [await answers(folders["family"] + (part and f"#{part}")) for part in ("2", "2:0.5", "2:0", "")]
    assert said[-1] == await answers(folders["plain"])
    assert len({tuple(one) for one in said}) == 4


async def test_five_members_at_once_answer_as_each_alone(folders: dict[str, str]) -> None:
    names = [folders["family"] + (part and f"#{part}") for part in MEMBERS]
    alone = [await answers(name) for name in names]
    backends = [TransformersBackend(name) for name in names]
    try:
        together = await asyncio.gather(*(ask(backend, q) for backend in backends for q in QUESTIONS))
    finally:
        for backend in backends:
            await backend.close()
    assert together == [text for texts in alone for text in texts]


async def test_levels_of_a_nested_model_by_name_and_number(folders: dict[str, str]) -> None:
    from aiflow.collaboration.familial import nested

    small, large = (nested.load(folders["nested"], level) for level in ("0.4", "0.8"))
    assert await answers(folders["nested"] + "#0.4") == [generated(small, q) for q in QUESTIONS]
    assert await answers(folders["nested"] + "#1") == await answers(folders["nested"] + "#0.4")
    assert await answers(folders["nested"]) == [generated(large, q) for q in QUESTIONS]


def test_a_member_is_batched_and_reads_only_its_own_weights(
    folders: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: list[str] = []
    read = Reader.read

    def watched(self: Reader, name: str, *args: Any, **kwargs: Any) -> Any:
        taken.append(name)
        return read(self, name, *args, **kwargs)

    monkeypatch.setattr(Reader, "read", watched)
    loaded = loading.load(folders["family"] + "#2:0.5", device="cpu", dtype="float32", max_context=None)
    assert loaded.context == 256
    assert loaded.ends == {1}
    assert any(name.startswith("branches.2.") for name in taken)
    assert not any(name.startswith(("branches.1.", "branches.3.", "backbone.model.layers.2.")) for name in taken)
    half = [p for name, p in loaded.model.named_parameters() if name.endswith("mlp.up_proj.u")]
    assert [p.shape[0] for p in half] == [int(0.5 * 48 * 32 / 80)]


@pytest.mark.parametrize("part", ["4:0.5", "7", "two", "2:0.9", "2:9"])
def test_a_member_that_is_not_there(folders: dict[str, str], part: str) -> None:
    with pytest.raises(InputError):
        TransformersBackend(f"{folders['family']}#{part}")


def test_errors_name_what_there_is(folders: dict[str, str]) -> None:
    with pytest.raises(InputError, match="its exits are 1, 2, 3, 4"):
        TransformersBackend(f"{folders['family']}#7")
    with pytest.raises(InputError, match=r"'0\.4', '0\.8'"):
        TransformersBackend(f"{folders['nested']}#nine")
    with pytest.raises(UnknownModelError, match="leave out '#2'"):
        TransformersBackend(f"{folders['plain']}#2")


async def test_a_vision_family_is_batched_and_sees(tmp_path: Path) -> None:
    tok = tokenizer()
    torch.manual_seed(0)
    eye = CLIPVisionConfig(
        hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=2, image_size=28, patch_size=14
    )
    config = LlavaConfig(
        vision_config=eye,
        text_config=LlamaConfig(**SIZES),
        image_token_index=tok.convert_tokens_to_ids("<image>"),
        vision_feature_layer=-1,
        vision_feature_select_strategy="default",
        image_seq_length=4,
    )
    made = Family(LlavaForConditionalGeneration(config).eval())
    initialise(made, {2: 0.75}, [], whiten=False)
    made.save_pretrained(tmp_path, storage="float32")
    LlavaProcessor(
        CLIPImageProcessorPil(size={"shortest_edge": 28}, crop_size={"height": 28, "width": 28}),
        tok,
        patch_size=14,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
    ).save_pretrained(tmp_path)
    backend = TransformersBackend(f"{tmp_path}#2")
    try:
        assert isinstance(backend._worker._runner, Batched)
        said = await asyncio.gather(*(ask(backend, "what", picture(c)) for c in ("red", "blue")), ask(backend, "what"))
        assert len(set(said)) == 3
        assert [await ask(backend, "what", picture(c)) for c in ("red", "blue")] == said[:2]
    finally:
        await backend.close()


def picture(colour: str) -> Image:
    data = io.BytesIO()
    PIL.Image.new("RGB", (40, 30), colour).save(data, "PNG")
    return Image(data.getvalue())
