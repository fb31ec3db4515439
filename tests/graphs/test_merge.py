import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiflow import prompts
from aiflow.errors import InputError
from aiflow.graphs import merge
from aiflow.graphs.blocks.budget import Budget
from aiflow.graphs.blocks.vote import vote
from aiflow.types import Message

Q = "What is 2+2?"
ANSWERS = {"code": "It is 5.", "math": "4", "bio": " 4.\n"}


async def test_synthesis_shows_every_answer(cast):
    server = cast.hub()
    merged = await merge(server, cast.team(), ANSWERS, Q, deadline=3.0)
    assert merged.text == "the joint answer"
    assert server.heard == (
        f"User: {Q}\n\nAnswers:\n"
        "- code (tracing small programs in Python): It is 5.\n"
        "- math (arithmetic and word problems with numbers): 4\n"
        "- bio (animals, plants and cells): 4.\n\n"
        "Write the best answer to the last question."
    )
    assert server.calls[-1]["deadline"] == 3.0


async def test_synthesis_of_one_answer_is_still_asked_for(cast):
    assert (await merge(cast.hub(), cast.team(), {"math": "4"}, Q)).text == "the joint answer"


async def test_vote_needs_no_server(cast):
    server = cast.hub()
    merged = await merge(server, cast.team(), ANSWERS, Q, how="vote")
    assert (merged.text, merged.trace[0]["note"], server.asked) == ("4", "vote: math, 2 of 3", [])


@pytest.mark.parametrize(("how", "last"), [("best_of_n", "best answer."), ("rank", "to the worst.")])
async def test_the_server_picks_word_for_word(cast, how, last):
    server = cast.hub(merge="BIO, then math")
    merged = await merge(server, cast.team(), ANSWERS, Q, how=how)
    assert merged.text == ANSWERS["bio"]
    assert server.heard.endswith(last)
    assert merged.trace[-1]["note"] == ("best_of_n: bio" if how == "best_of_n" else "rank: bio, math")
    assert (await merge(server, cast.team(), {"math": "4"}, Q, how=how)).text == "4"
    assert len(server.asked) == 1


@pytest.mark.parametrize("how", ["synthesis", "best_of_n", "rank"])
@pytest.mark.parametrize("play", ["", "\0\ufffd\0", "DEAD", "nobody"])
async def test_a_useless_server_is_replaced_by_a_vote(cast, how, play):
    if (how, play) == ("synthesis", "nobody"):
        return  # any text is a synthesis
    server = cast.hub(merge=cast.DEAD if play == "DEAD" else play)
    merged = await merge(server, cast.team(), ANSWERS, Q, how=how)
    assert merged.text == "4"
    assert merged.trace[-1]["note"] == "fallback: vote: math, 2 of 3"
    kept = await merge(server, cast.team(), ANSWERS, Q, how=how, fallback="the last one")
    assert (kept.text, kept.trace[-1]["note"]) == ("the last one", "fallback: the last merged answer stays")


async def test_a_hanging_server_costs_its_deadline(cast):
    merged = await merge(cast.hub(delay=30), cast.team(), ANSWERS, Q, deadline=0.05)
    assert merged.text == "4"
    assert "DeadlineError" in merged.trace[0]["error"]


async def test_a_server_without_eyes_reads_the_text(cast, png):
    server = cast.Puppet("hub", lambda turns: InputError("no images") if turns[-1].images else "joint")
    merged = await merge(server, cast.team(), ANSWERS, [Message("user", Q, (png,))])
    assert merged.text == "joint"
    assert [r["ok"] for r in merged.trace] == [False, True]
    assert merged.trace[-1]["note"] == "asked again without the images"


@pytest.mark.parametrize(
    ("answers", "winner", "votes"),
    [
        (["4", "5"], "a", 1),
        (["5", "4", " 4. "], "b", 2),
        (["Paris!", "paris", "Rome"], "a", 2),
        (["-4", "4", "-4"], "a", 2),
        (["?", "!", "!"], "b", 2),
    ],
)
def test_votes(answers, winner, votes):
    assert vote(dict(zip("abc", answers, strict=False))) == (winner, votes)


async def test_long_answers_are_cut_fairly(cast):
    server = cast.hub()
    answers = {"math": "m" * 5000, "code": "c" * 3000, "bio": "short"}
    merged = await merge(server, cast.team(), answers, Q, budget=Budget(2000))
    assert 1950 <= len(server.heard) <= 2000
    assert "short" in server.heard
    assert abs(server.heard.count("m") - server.heard.count("c")) < 30
    assert merged.trace[0]["note"].startswith("context limit: 2 answers cut to ")


async def test_the_limit_may_count_tokens(cast):
    server = cast.hub()
    await merge(server, cast.team(), {"math": "word " * 500}, Q, budget=Budget(100, lambda text: len(text.split())))
    assert len(server.heard.split()) <= 100


TURNS = st.lists(st.text(max_size=400), min_size=1, max_size=5)
TEXTS = st.lists(st.text(min_size=1, max_size=2000), min_size=1, max_size=5)


@given(TURNS, TEXTS, st.integers(700, 4000))
def test_a_prompt_never_exceeds_the_limit(turns, texts, limit):
    answers = [(f"agent{i}", "about", text) for i, text in enumerate(texts)]
    talk = [Message("user", text) for text in turns]
    whole = prompts.merge(prompts.transcript((m.role, m.text) for m in talk), answers)
    prompt, note = Budget(limit).fit(talk, answers, prompts.merge)
    assert len(prompt) <= limit
    assert (prompt == whole) == (note == "") == (len(whole) <= limit)
    assert all(f"- agent{i} (about): " in prompt for i in range(len(texts)))
