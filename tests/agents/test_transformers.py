"""The transformers back end on tiny random models: batching changes nothing, and calls end as they should."""

import asyncio
import os
from contextlib import aclosing
from pathlib import Path
from typing import Any

os.environ["HF_HUB_OFFLINE"] = "1"

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    PreTrainedTokenizerFast,
)

from aiflow.agents.backends.transformers import TransformersBackend
from aiflow.agents.backends.transformers.batched import Batched
from aiflow.agents.backends.transformers.single import Single
from aiflow.errors import BackendError, InputError, UnknownModelError
from aiflow.types import Answer, Delta, Message, Options

TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}{% if m['role'] == 'system' %}{{ raise_exception('no system') }}{% endif %}"
    "<{{ m['role'] }}>{{ m['content'] }}\n{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}"
)
SIZES: dict[str, Any] = {
    "vocab_size": 320, "hidden_size": 48, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 512, "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 2,
    "initializer_range": 0.4,
}  # fmt: skip


def tokenizer(template: str | None = TEMPLATE) -> PreTrainedTokenizerFast:
    """Byte-level, with a few merges so that a token can span characters."""
    vocab = {name: i for i, name in enumerate(["<s>", "</s>", "<pad>", *sorted(pre_tokenizers.ByteLevel.alphabet())])}
    merges = [("a", "b"), ("t", "h"), ("th", "e")]
    vocab |= {"".join(pair): len(vocab) + i for i, pair in enumerate(merges)}
    raw = Tokenizer(models.BPE(vocab=vocab, merges=merges))
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    made = PreTrainedTokenizerFast(tokenizer_object=raw, bos_token="<s>", eos_token="</s>", pad_token="<pad>")
    made.chat_template = template
    return made


def save(path: Path, model: Any, template: str | None = TEMPLATE, ends: list[int] | None = None) -> str:
    if ends:
        model.generation_config.eos_token_id = ends
    model.save_pretrained(path)
    tokenizer(template).save_pretrained(path)
    return str(path)


def llama() -> Any:
    torch.manual_seed(0)
    return LlamaForCausalLM(LlamaConfig(**SIZES))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return save(tmp_path_factory.mktemp("llama"), llama())


@pytest.fixture(scope="module")
def sliding(tmp_path_factory: pytest.TempPathFactory) -> str:
    torch.manual_seed(1)
    return save(tmp_path_factory.mktemp("mistral"), MistralForCausalLM(MistralConfig(**SIZES, sliding_window=16)))


async def ask(backend: TransformersBackend, text: str, **options: Any) -> Answer:
    """Asks, and checks on the way that the deltas make up the text."""
    items = [item async for item in backend.stream([Message("user", text)], Options(**options))]
    answer = items.pop()
    assert isinstance(answer, Answer)
    assert "".join(item.text for item in items if isinstance(item, Delta)) == answer.text
    assert len(items) == sum(isinstance(item, Delta) and bool(item.text) for item in items)
    return answer


def generate(path: str, text: str, max_tokens: int) -> tuple[int, str]:
    """What Hugging Face's own greedy search answers: (prompt tokens, text)."""
    net, tok = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32), AutoTokenizer.from_pretrained(path)
    chat = [{"role": "user", "content": text}]
    ids = tok.apply_chat_template(chat, add_generation_prompt=True, return_tensors="pt", return_dict=True)["input_ids"]
    out = net.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=max_tokens, do_sample=False)
    return ids.shape[1], tok.decode(out[0, ids.shape[1] :], skip_special_tokens=True).rstrip("\ufffd")


TEXTS = ["a", "the cat", "x" * 90, "what is the capital of France?", "the cat", "1 + 1 = " * 12, "q" * 33, "äöü 日本"]


async def test_batched_equals_alone_and_generate(model: str) -> None:
    backend = TransformersBackend(model, max_batch=5)
    alone = [await ask(backend, text, max_tokens=12 + i) for i, text in enumerate(TEXTS)]

    async def late(i: int, text: str) -> Answer:
        await asyncio.sleep(0.004 * i)
        return await ask(backend, text, max_tokens=12 + i)

    together = await asyncio.gather(*(late(i, text) for i, text in enumerate(TEXTS)))
    at_once = await asyncio.gather(*(ask(backend, text, max_tokens=12 + i) for i, text in enumerate(TEXTS)))
    for i, (one, two, three) in enumerate(zip(alone, together, at_once, strict=True)):
        prompt, text = generate(model, TEXTS[i], 12 + i)
        assert one.text == two.text == three.text == text
        assert one.usage.prompt_tokens == prompt
        assert one.usage.completion_tokens == two.usage.completion_tokens == three.usage.completion_tokens
        assert one.finish == two.finish == three.finish
        assert one.finish == "stop" or one.usage.completion_tokens == 12 + i
    await backend.close()


@pytest.mark.parametrize("kind", ["model", "sliding"])
async def test_seeded_sampling_ignores_company(kind: str, request: pytest.FixtureRequest) -> None:
    backend = TransformersBackend(request.getfixturevalue(kind), seed=3)
    hot = {"max_tokens": 16, "temperature": 1.3, "top_p": 0.9}
    alone = [await ask(backend, "the cat", **hot, seed=s) for s in range(4)]
    company = [ask(backend, text, **hot) for text in TEXTS]
    together = await asyncio.gather(*(ask(backend, "the cat", **hot, seed=s) for s in range(4)), *company)
    assert [a.text for a in alone] == [a.text for a in together[:4]]
    assert len({a.text for a in alone}) == 4
    await backend.close()


@pytest.mark.parametrize("kind", ["model", "sliding"])
async def test_stop_strings_cut_exactly(kind: str, request: pytest.FixtureRequest) -> None:
    backend = TransformersBackend(request.getfixturevalue(kind))
    whole = (await ask(backend, "the cat", max_tokens=40)).text
    for at in range(2, 20, 3):
        stop = whole[at : at + 3]
        answer = await ask(backend, "the cat", max_tokens=40, stop=("never in it", stop))
        assert answer.text == whole[: whole.index(stop)]
        assert answer.finish == "stop"
        assert answer.usage.completion_tokens < 40
    await backend.close()


async def test_any_end_id_ends_the_answer(tmp_path: Path) -> None:
    net, tok = llama(), tokenizer()
    ids = tok("<s><user>the cat\n<assistant>", return_tensors="pt").input_ids
    made = net.generate(ids, max_new_tokens=12, do_sample=False)[0, ids.shape[1] :].tolist()
    end = next(t for i, t in enumerate(made) if i > 2 and t not in made[:i])
    backend = TransformersBackend(save(tmp_path, net, ends=[319, end]))
    answer = await ask(backend, "the cat", max_tokens=12)
    assert answer.finish == "stop"
    assert answer.usage.completion_tokens == made.index(end) + 1
    assert answer.text == tok.decode(made[: made.index(end)]).rstrip("\ufffd")
    await backend.close()


@pytest.mark.parametrize(("kind", "runner"), [("model", Batched), ("sliding", Single)])
async def test_closing_the_stream_frees_its_place(kind: str, runner: type, request: pytest.FixtureRequest) -> None:
    backend = TransformersBackend(request.getfixturevalue(kind), max_batch=2)
    worker = backend._worker
    assert isinstance(worker._runner, runner)
    other = asyncio.create_task(ask(backend, "the cat", max_tokens=30))
    stream = backend.stream([Message("user", "hello")], Options(max_tokens=450))
    async with aclosing(stream):
        assert isinstance(await anext(stream), Delta)
    third = await ask(backend, "x", max_tokens=5)
    assert third.usage.completion_tokens == (await ask(backend, "x", max_tokens=5)).usage.completion_tokens == 5
    assert (await other).usage.completion_tokens == 30
    for _ in range(200):
        if not (worker._runner.busy or worker._outbox.open):
            break
        await asyncio.sleep(0.01)
    assert not worker._runner.busy
    assert not worker._outbox.open
    await backend.close()


async def test_sliding_window_models_take_turns(sliding: str) -> None:
    backend = TransformersBackend(sliding)
    assert isinstance(backend._worker._runner, Single)
    answers = await asyncio.gather(*(ask(backend, text, max_tokens=14) for text in TEXTS[:3]))
    assert [a.text for a in answers] == [generate(sliding, text, 14)[1] for text in TEXTS[:3]]
    await backend.close()


async def test_too_long_a_conversation_is_refused_and_a_tight_one_is_cut(model: str) -> None:
    backend = TransformersBackend(model, max_context=64)
    others = [asyncio.create_task(ask(backend, "hi", max_tokens=20)) for _ in range(3)]
    with pytest.raises(InputError, match=r"has \d+ tokens and the model reads 64"):
        await ask(backend, "x" * 100)
    assert [(await o).usage.completion_tokens for o in others] == [20] * 3
    tight = await ask(backend, "x" * 30)
    assert tight.usage.prompt_tokens + tight.usage.completion_tokens == 64
    assert tight.finish == "length"
    with pytest.raises(InputError, match="max_context=9999"):
        TransformersBackend(model, max_context=9999)
    await backend.close()


async def test_a_failing_forward_pass_fails_the_rows_in_flight_only(model: str) -> None:
    backend = TransformersBackend(model)
    forward, calls = backend._worker._runner._model.forward, []  # type: ignore[attr-defined]

    def broken(*args: Any, **kwargs: Any) -> Any:
        calls.append(1)
        if len(calls) == 6:
            raise RuntimeError("out of memory")
        return forward(*args, **kwargs)

    backend._worker._runner._model.forward = broken  # type: ignore[attr-defined]
    results = await asyncio.gather(*(ask(backend, t, max_tokens=30) for t in TEXTS[:3]), return_exceptions=True)
    assert any(isinstance(r, BackendError) and "out of memory" in str(r) for r in results)
    assert (await ask(backend, "again", max_tokens=4)).usage.completion_tokens == 4
    await backend.close()


@pytest.mark.parametrize("kind", ["model", "sliding"])
async def test_close_fails_what_is_in_flight(kind: str, request: pytest.FixtureRequest) -> None:
    backend = TransformersBackend(request.getfixturevalue(kind))
    flying = [asyncio.create_task(ask(backend, t, max_tokens=400)) for t in TEXTS[:2]]
    await asyncio.sleep(0.1)
    await backend.close()
    assert all(isinstance(r, BackendError) for r in await asyncio.gather(*flying, return_exceptions=True))
    with pytest.raises(BackendError, match="closed"):
        await ask(backend, "x")
    await backend.close()


async def test_prompts_without_template_and_without_system_role(tmp_path: Path, model: str) -> None:
    backend = TransformersBackend(save(tmp_path, llama(), template=None))
    plain = await ask(backend, "hi", max_tokens=1)
    assert plain.usage.prompt_tokens == len(tokenizer()("User: hi\nAssistant:").input_ids)
    await backend.close()
    backend = TransformersBackend(model)
    turns = [Message("system", "Be brief."), Message("user", "hi")]
    answer = [item async for item in backend.stream(turns, Options(max_tokens=3))][-1]
    assert isinstance(answer, Answer)
    assert answer.text == (await ask(backend, "Be brief.\n\nhi", max_tokens=3)).text
    await backend.close()


@pytest.mark.parametrize("name", ["/no/such/folder", "nobody/has-this-model", "no such id"])
def test_unknown_models_are_named_in_one_line(name: str) -> None:
    with pytest.raises(UnknownModelError) as caught:
        TransformersBackend(name)
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)


def test_unusable_arguments(model: str, tmp_path: Path) -> None:
    for wrong in ({"dtype": "int7"}, {"device": "abacus"}, {"max_batch": 0}, {"threads": 0}, {"max_context": -1}):
        with pytest.raises(InputError, match=str(next(iter(wrong.values())))):
            TransformersBackend(model, **wrong)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(UnknownModelError, match="cannot load model"):
        TransformersBackend(str(tmp_path))
