"""The likeliest tokens that OpenAI-compatible servers send: read where they are sound, left out where they are not."""

import json
import math
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types.chat import ChatCompletionChunk

from aiflow.agents.backends.openai_logprobs import gathered, places
from aiflow.types import Answer

NAN, INF = math.nan, math.inf


def token(*top: Any, text: str = "m") -> dict[str, Any]:
    """One token of ``choices[].logprobs.content``; a pair stands for an ordinary entry."""
    entries = [{"token": e[0], "logprob": e[1], "bytes": None} if isinstance(e, tuple) else e for e in top]
    return {"token": text, "logprob": -0.1, "bytes": None, "top_logprobs": entries}


def chunk(logprobs: Any) -> Any:
    """As the openai library makes it, which checks nothing."""
    choice = {"index": 0, "delta": {"content": "m"}, "finish_reason": None, "logprobs": logprobs}
    return ChatCompletionChunk.construct(**json.loads(json.dumps({"id": "c", "choices": [choice]})))


def test_the_likeliest_first_and_no_more_than_asked_for() -> None:
    made = chunk({"content": [token((" M", -2.0), ("m", -0.25), ("x", -9999.0)), token(("\n", -0.0))]})
    assert places(made, 2) == [(("m", -0.25), (" M", -2.0)), (("\n", 0.0),)]
    assert places(made, 20)[0] == (("m", -0.25), (" M", -2.0), ("x", -9999.0))
    absent = token(("M", -1.5), text="odd")  # the sampled token is not listed, and not made up
    assert places(chunk({"content": [absent]}), 5) == [(("M", -1.5),)]


@pytest.mark.parametrize(
    "entry",
    [
        ("m", NAN), ("m", INF), ("m", -INF), ("m", None), ("m", "low"), ("m", 0.5), ("m", -(10**400)),
        (None, -1.0), (7, -1.0), ("\ud83d", -1.0), {"token": "m"}, {"logprob": -1.0}, {}, [], "m", None, 5,
    ],
    ids=str,
)  # fmt: skip
def test_an_entry_that_is_none_is_left_out(entry: Any) -> None:
    content = [token(("M", -1.0), entry)]
    assert places(chunk({"content": content}), 5) == [(("M", -1.0),)]
    assert places(SimpleNamespace(choices=[{"logprobs": {"content": content}}]), 5) == [(("M", -1.0),)]


def test_rounding_above_zero_counts_as_zero() -> None:
    assert places(chunk({"content": [token(("m", 1e-6), ("M", 0))]}), 5) == [(("m", 0.0), ("M", 0.0))]


@pytest.mark.parametrize(
    "logprobs",
    [
        None, {}, [], "none", 3, {"content": None}, {"content": []}, {"content": {"token": "m"}}, {"content": "m"},
        {"tokens": ["m"], "token_logprobs": [-0.1], "top_logprobs": [{"m": -0.1}]},
    ],
    ids=str,
)  # fmt: skip
def test_what_is_no_list_of_tokens_is_passed_over(logprobs: Any) -> None:
    assert places(chunk(logprobs), 5) == []


def test_an_answer_without_any_has_no_places() -> None:
    assert gathered([(), ()]) == gathered([]) == ()
    assert gathered([(), (("m", -0.1),)]) == ((), (("m", -0.1),))
    for odd in (SimpleNamespace(), SimpleNamespace(choices=None), SimpleNamespace(choices=[None])):
        assert places(odd, 5) == []


json_like = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from(["token", "logprob", "top_logprobs", "content"]), inner, max_size=4
    ),
    max_leaves=12,
)  # fmt: skip


@given(json_like, st.integers(1, 20))
def test_nothing_a_server_sends_breaks_it(logprobs: Any, most: int) -> None:
    for place in gathered(places(chunk(logprobs), most) + places(chunk({"content": [token(logprobs)]}), most)):
        assert len(place) <= most
        assert [p for _, p in place] == sorted((p for _, p in place), reverse=True)
        assert all(isinstance(text, str) and math.isfinite(p) and p <= 0 for text, p in place)


def test_empty_answers_are_the_default() -> None:
    assert Answer(text="").logprobs == gathered(()) == ()
