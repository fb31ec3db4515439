"""Several prompts in one request, and comments while a stream is silent."""

import json
from typing import Any

import httpx
import openai
import pytest

from aiflow.errors import BackendError
from aiflow.serve.outcome import Outcome
from aiflow.serve.prompts import AT_ONCE, answers, pieces

WORDS = ["one two", "three", "four five six"]
TALK: Any = [{"role": "user", "content": "one two three"}]


@pytest.fixture
def client(served):
    with openai.OpenAI(base_url=served.url, api_key="none", max_retries=0) as client:
        yield client


def test_each_prompt_has_a_choice(client):
    whole = client.completions.create(model="echo", prompt=WORDS)
    assert [(choice.index, choice.text) for choice in whole.choices] == [*enumerate(WORDS)]
    assert whole.usage.completion_tokens == whole.usage.prompt_tokens == 6
    assert whole.model_extra["aiflow"]["agents"]["echo"]["requests"] == 3
    many = [f"prompt {i}" for i in range(64)]
    assert [choice.text for choice in client.completions.create(model="echo", prompt=many).choices] == many


def test_streamed_prompts_are_told_apart_by_index(client):
    said, ends = dict.fromkeys(range(3), ""), []
    chunks = list(
        client.completions.create(model="echo", prompt=WORDS, stream=True, stream_options={"include_usage": True})
    )
    for chunk in chunks[:-1]:
        (choice,) = chunk.choices
        said[choice.index] += choice.text
        ends += [choice.index] if choice.finish_reason else []
    assert [said[i] for i in range(3)] == WORDS
    assert sorted(ends) == [0, 1, 2]
    assert (chunks[-1].choices, chunks[-1].usage.total_tokens) == ([], 12)
    assert chunks[-1].model_extra["aiflow"]["agents"]["echo"]["requests"] == 3
    (last,) = [
        c for c in client.completions.create(model="echo", prompt=WORDS, stream=True) if "aiflow" in c.model_extra
    ]
    assert last.model_extra["aiflow"]["agents"]["echo"]["requests"] == 3


def test_graphs_read_their_own_answers_only(client):
    whole = client.completions.create(model="ranked", prompt=["a", "b"], timeout=20)
    assert [choice.text for choice in whole.choices] == ["12 * 7 = 84"] * 2
    marks = whole.model_extra["aiflow"]["marks"]
    assert [mark["mark"] for mark in marks if mark["agent"] == "dead"] == ["dead"] * 2


@pytest.mark.parametrize("stream", [False, True])
def test_one_failure_is_the_requests(client, served, stream):
    with pytest.raises(openai.InternalServerError) as caught:
        list(client.completions.create(model="broken", prompt=WORDS, stream=stream))
    assert (caught.value.status_code, caught.value.code) == (502, "agent_failed")
    assert served.totals("broken").in_flight == 0


@pytest.mark.parametrize(
    ("prompt", "param"),
    [
        ([], "prompt"),
        (["a", " "], "prompt[1]"),
        (["a", "\u200a"], "prompt[1]"),
        (["a"] * 65, "prompt"),
        ([1, 2], "prompt[0]"),
    ],
)
def test_prompts_that_are_refused(client, prompt, param):
    with pytest.raises(openai.BadRequestError) as caught:
        client.completions.create(model="echo", prompt=prompt)
    assert caught.value.param == param


def test_tokens_are_set_aside_for_each_prompt(serve):
    with (
        serve(allowance={"tokens_per_minute": 100}) as served,
        openai.OpenAI(base_url=served.url, api_key="x", max_retries=0) as client,
    ):
        client.completions.create(model="echo", prompt=["a"], max_tokens=40)
        with pytest.raises(openai.RateLimitError):
            client.completions.create(model="echo", prompt=["a"] * 3, max_tokens=40)


class Busy:
    """A model that counts who asks it at once, and fails at one prompt."""

    def __init__(self, bad=None):
        self.bad, self.now, self.most = bad, 0, 0

    async def answer(self, talk, given):
        async for piece in self.stream(talk, given):
            last = piece
        return last

    async def stream(self, talk, given):
        import asyncio

        self.now += 1
        self.most = max(self.most, self.now)
        try:
            for _ in range(3):
                await asyncio.sleep(0.001)
                yield "x"
            if talk == self.bad:
                raise BackendError("no")
            yield Outcome(text=f"{talk} {given}")
        finally:
            self.now -= 1


async def test_a_few_prompts_are_asked_at_a_time():
    model, talks = Busy(), range(20)
    found = await answers(model, talks, "!", [])
    assert [outcome.text for outcome in found] == [f"{i} !" for i in range(20)]
    assert model.most == AT_ONCE
    model = Busy()
    said = [(i, piece) async for i, piece in pieces(model, talks, "!", []) if isinstance(piece, Outcome)]
    assert sorted((i, outcome.text) for i, outcome in said) == [(i, f"{i} !") for i in range(20)]
    assert model.most == AT_ONCE
    for ask in (answers(Busy(bad=7), talks, "", []), anext(_drained(pieces(Busy(bad=7), talks, "", [])))):
        with pytest.raises(BackendError):
            await ask


async def test_a_stream_that_is_left_leaves_nobody_working():
    model = Busy()
    said = pieces(model, range(20), "", [])
    await anext(said)
    await said.aclose()
    assert model.now == 0


async def _drained(said):
    yield [piece async for piece in said]


def events(served, **more):
    body = {"model": "late", "messages": TALK, "stream": True, **more}
    with httpx.stream("POST", f"{served.url}/chat/completions", json=body, timeout=20) as answer:
        return answer.status_code, "".join(answer.iter_text()).split("\n\n")


def test_comments_while_nothing_is_said(serve):
    agents = {
        "late": {"node": "cloud", "model": "scripted:echo", "backend": {"delay": 0.5}},
        "hung": {"node": "cloud", "model": "scripted:echo", "backend": {"fail": "hang"}},
    }
    with serve(agents=agents, keep_alive="100 ms", deadline="1 s") as served:
        status, lines = events(served)
        comments = [line for line in lines if line.startswith(":")]
        assert status == 200
        assert 2 <= len(comments) <= 5
        assert json.loads(lines[0].removeprefix("data: "))["choices"][0]["delta"]["role"] == "assistant"
        assert lines[-2:] == ["data: [DONE]", ""]
        with openai.OpenAI(base_url=served.url, api_key="x", max_retries=0) as client:
            chunks = list(client.chat.completions.create(model="late", messages=TALK, stream=True))
            assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == "one two three"
            with pytest.raises(openai.APIError, match="in time"):  # its head had been sent: an event says so
                list(client.chat.completions.create(model="hung", messages=TALK, stream=True))
        assert served.totals("hung").in_flight == 0


def test_no_comments_where_none_are_wanted(serve):
    agents = {"late": {"node": "cloud", "model": "scripted:echo", "backend": {"delay": 0.3}}}
    with serve(agents=agents, keep_alive=None) as served:
        assert not [line for line in events(served)[1] if line.startswith(":")]
