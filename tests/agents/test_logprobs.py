"""``Options.top_logprobs`` through agents and back ends of this process: exact, in company, and only where asked for.

The reference is one forward pass of the same weights over the prompt and its answer, without a cache, in float32.
"""

import asyncio
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, decoders, models
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    MistralConfig,
    MistralForCausalLM,
    PreTrainedTokenizerFast,
)

from aiflow.agents.backends.transformers import TransformersBackend, batched, single
from aiflow.agents.backends.transformers.loading import _speller
from aiflow.agents.backends.transformers.sampling import likeliest
from aiflow.agents.deployment import Deployment
from aiflow.types import Answer, Message, Options

TEXTS = ["the cat", "a", "what is the capital of france", "the cat", "x" * 40]
Places = tuple[tuple[tuple[str, float], ...], ...]


@pytest.fixture(scope="module")
def sliding(tiny: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A model that cannot be batched, with the tokens of ``tiny``."""
    path = tmp_path_factory.mktemp("sliding")
    torch.manual_seed(1)
    config = MistralConfig(
        vocab_size=32, hidden_size=48, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=512, bos_token_id=0, eos_token_id=1, pad_token_id=2,
        initializer_range=0.4, sliding_window=16,
    )  # fmt: skip
    MistralForCausalLM(config).save_pretrained(path)
    AutoTokenizer.from_pretrained(tiny).save_pretrained(path)
    return str(path)


async def ask(backend: TransformersBackend, text: str, **options: Any) -> Answer:
    items = [item async for item in backend.stream([Message("user", text)], Options(**options))]
    assert isinstance(items[-1], Answer)
    return items[-1]


def expected(path: str, text: str, max_tokens: int, top: int) -> Places:
    """The likeliest tokens at each place of the greedy answer, its end included, from one pass without a cache."""
    net, tok = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32), AutoTokenizer.from_pretrained(path)
    chat = tok.apply_chat_template([{"role": "user", "content": text}], tokenize=False, add_generation_prompt=True)
    ids = tok(chat, return_tensors="pt", add_special_tokens=False)["input_ids"]
    made = net.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=max_tokens, do_sample=False)
    with torch.inference_mode():
        logprobs_TV = net(made).logits[0, ids.shape[1] - 1 : -1].float().log_softmax(-1)
    return tuple(
        tuple((tok.decode([i]), row[i].item()) for i in row.argsort(descending=True)[:top].tolist())
        for row in logprobs_TV
    )


def check(found: Places, wanted: Places) -> None:
    assert [[text for text, _ in place] for place in found] == [[text for text, _ in place] for place in wanted]
    numbers = [[logprob for _, logprob in place] for place in found]
    assert numbers == [pytest.approx([logprob for _, logprob in place], abs=2e-5) for place in wanted]


@pytest.mark.parametrize("kind", ["tiny", "sliding"])
async def test_exact_alone_and_in_company(kind: str, request: pytest.FixtureRequest) -> None:
    path = request.getfixturevalue(kind)
    backend = TransformersBackend(path, max_batch=4)
    tops = (5, 0, 20, 1, 2)
    wanted = [expected(path, text, 9 + i, top) for i, (text, top) in enumerate(zip(TEXTS, tops, strict=True))]
    calls = [{"text": text, "max_tokens": 9 + i, "top_logprobs": tops[i]} for i, text in enumerate(TEXTS)]
    alone = [await ask(backend, **call) for call in calls]
    together = await asyncio.gather(*(ask(backend, **call) for call in calls))
    for one, two, places, top in zip(alone, together, wanted, tops, strict=True):
        assert one.text == two.text
        assert len(places) == one.usage.completion_tokens
        for answer in (one, two):
            assert len(answer.logprobs) == (one.usage.completion_tokens if top else 0)
            check(answer.logprobs, places if top else ())
    await backend.close()


async def test_temperature_and_nucleus_change_nothing(tiny: str) -> None:
    backend = TransformersBackend(tiny)
    greedy = await ask(backend, "the cat", max_tokens=8, top_logprobs=4)
    hot = await ask(backend, "the cat", max_tokens=8, top_logprobs=4, temperature=5.0, top_p=1e-9, seed=1)
    check(hot.logprobs, greedy.logprobs)
    drawn = await ask(backend, "the cat", max_tokens=8, top_logprobs=4, temperature=5.0, seed=1)
    check(drawn.logprobs[:1], greedy.logprobs[:1])
    assert drawn.logprobs[1:] != greedy.logprobs[1:]  # the text before them is another
    await backend.close()


async def test_the_end_and_a_stop_string_have_their_places(tiny: str, tmp_path: Path) -> None:
    whole = expected(tiny, "the cat", 12, 1)
    end = next(i for i in range(3, 12) if whole[i] not in whole[:i] and len(whole[i][0][0]) == 1)
    net, tok = AutoModelForCausalLM.from_pretrained(tiny), AutoTokenizer.from_pretrained(tiny)
    net.generation_config.eos_token_id = [1, tok.encode(whole[end][0][0], add_special_tokens=False)[0]]
    net.save_pretrained(tmp_path)
    tok.save_pretrained(tmp_path)
    backend = TransformersBackend(str(tmp_path))
    answer = await ask(backend, "the cat", max_tokens=12, top_logprobs=1)
    assert (answer.finish, answer.usage.completion_tokens) == ("stop", end + 1)
    check(answer.logprobs, whole[: end + 1])
    assert not answer.text.endswith(whole[end][0][0])
    stop = answer.text[1:3]
    cut = await ask(backend, "the cat", max_tokens=12, top_logprobs=1, stop=(stop,))
    assert len(cut.logprobs) == cut.usage.completion_tokens > len(cut.text)
    await backend.close()


@pytest.mark.parametrize(("kind", "module"), [("tiny", batched), ("sliding", single)])
async def test_who_does_not_ask_pays_nothing(
    kind: str, module: Any, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows: list[int] = []
    log_softmax = torch.Tensor.log_softmax
    monkeypatch.setattr(torch.Tensor, "log_softmax", lambda t, dim: rows.append(t.shape[0]) or log_softmax(t, dim))  # type: ignore[func-returns-value]
    backend = TransformersBackend(request.getfixturevalue(kind))
    assert type(backend._worker._runner).__module__ == module.__name__
    answers = await asyncio.gather(*(ask(backend, text, max_tokens=6) for text in TEXTS))
    assert not rows
    assert not any(answer.logprobs for answer in answers)
    await asyncio.gather(*(ask(backend, text, max_tokens=6, top_logprobs=int(text == "a")) for text in TEXTS))
    assert set(rows) == {1}
    assert len(rows) <= 6
    await backend.close()


def test_likeliest_of_rows() -> None:
    logits_NV = torch.tensor(
        [[1.0, 3.0, 3.0, 0.0], [0.0, 9.0, 1.0, -torch.inf], [torch.nan] * 4, [0.0, 99.0, 0.0, 0.0]]
    )
    before = logits_NV.clone()
    found = likeliest(logits_NV, [3, 20, 2, 1], silent=(0,))
    assert [[token for token, _ in row] for row in found] == [[1, 2, 3], [1, 2], [], [1]]
    assert [p for _, p in found[0]] == pytest.approx([math.log(p / (2 + math.exp(-3))) for p in (1, 1, math.exp(-3))])
    assert found[3] == [(1, 0.0)]
    assert likeliest(logits_NV, [0, 1, 0, 0])[1] == [
        (1, pytest.approx(-math.log1p(math.exp(-9) + math.exp(-8)), abs=1e-6))
    ]
    assert likeliest(logits_NV, [0] * 4) == [[]] * 4
    assert torch.equal(logits_NV.nan_to_num(7.0), before.nan_to_num(7.0))


def test_a_row_among_equals_is_not_changed_by_its_company() -> None:
    equals = torch.randperm(300, generator=torch.Generator().manual_seed(0))[:15]  # as bfloat16 has them
    logits_NV = torch.zeros(2, 300).index_fill_(1, equals, 2.0)
    assert [token for token, _ in likeliest(logits_NV, [5, 0])[0]] == sorted(equals.tolist())[:5]
    assert likeliest(logits_NV, [5, 20])[0] == likeliest(logits_NV, [5, 0])[0]


def test_one_token_as_text() -> None:
    words = ["<unk>", "</s>", "\u2581m", "m", "\u2581", "<0xE6>"]
    raw = Tokenizer(models.WordLevel({w: i for i, w in enumerate(words)}, unk_token="<unk>"))
    raw.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Metaspace()])
    spell = _speller(PreTrainedTokenizerFast(tokenizer_object=raw, unk_token="<unk>", eos_token="</s>"))
    assert [spell(i) for i in range(7)] == ["<unk>", "</s>", " m", "m", " ", "\ufffd", ""]


async def test_through_an_agent(here: Deployment, tiny: str) -> None:
    agent = here.agent("judge", node="hub", model=tiny)
    asked = {"max_tokens": 1, "top_logprobs": 5}
    answer = await agent.ask("the cat", sender="phone", options=asked)
    check(answer.logprobs, expected(tiny, "the cat", 1, 5))
    *_, last = [item async for item in agent.stream("the cat", options=asked)]
    assert isinstance(last, Answer)
    assert last.logprobs == answer.logprobs
    assert (await agent.ask("the cat", options={"max_tokens": 1})).logprobs == ()
    await agent.close()
