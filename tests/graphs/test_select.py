import numpy as np
import pytest

from aiflow.errors import DeadlineError, InputError
from aiflow.graphs import select
from aiflow.graphs.blocks.budget import Budget

MATH = "How much is 12 times 7, as a number? It is arithmetic."


async def test_the_server_names_the_devices(cast):
    server, devices = cast.hub("code and bio"), cast.team()
    chosen = await select(server, devices, MATH)
    assert chosen.names == ["code", "bio"]
    assert server.heard.startswith(f"User: {MATH}\n\nAssistants:\n- math: arithmetic and word problems")
    assert server.heard.endswith("Name the 2 best suited to the last question, best first.")
    assert server.calls == [{"sender": None, "options": None, "deadline": None}]
    assert [r["note"] for r in chosen.trace] == [""]


@pytest.mark.parametrize(("count", "selector"), [(5, "server"), (9, "server"), (2, "all")])
async def test_all_are_taken_without_a_call(cast, count, selector):
    server = cast.hub()
    chosen = await select(server, cast.team(), MATH, count=count, selector=selector)
    assert chosen.names == ["math", "code", "bio", "verse", "geo"]
    assert not server.asked


async def test_missing_names_are_filled_up_by_similarity(cast):
    server = cast.hub("bio")
    chosen = await select(server, cast.team(), MATH, count=2)
    assert chosen.names == ["bio", "math"]
    assert chosen.trace[-1]["note"] == "fallback: tfidf chose math"
    assert len(server.asked) == 1


async def test_nonsense_is_asked_again_once_and_firmly(cast):
    replies = iter(["no idea", "code, math"])
    server = cast.hub(lambda _: next(replies))
    chosen = await select(server, cast.team(), MATH)
    assert chosen.names == ["code", "math"]
    assert "nothing but 2 of these names, separated by commas: math, code, bio, verse, geo." in server.heard
    assert "asked again" in chosen.trace[-1]["note"]


async def test_nonsense_twice_falls_back(cast):
    server = cast.hub("no idea")
    chosen = await select(server, cast.team(), MATH, count=1)
    assert chosen.names == ["math"]
    assert len(server.asked) == 2
    assert "fallback: tfidf" in chosen.trace[-1]["note"]


async def test_a_dead_server_is_asked_once(cast):
    server = cast.hub(cast.DEAD)
    chosen = await select(server, cast.team(), MATH, count=1)
    assert chosen.names == ["math"]
    assert len(server.asked) == 1
    assert [r["ok"] for r in chosen.trace] == [False, True]


async def test_a_late_server_falls_back(cast):
    chosen = await select(cast.hub(delay=30), cast.team(), MATH, count=1, deadline=0.05)
    assert chosen.names == ["math"]
    assert "DeadlineError" in chosen.trace[0]["error"]


@pytest.mark.parametrize(
    ("question", "name"),
    [
        (MATH, "math"),
        ("Trace this program in Python: print(1)", "code"),
        ("Which animals have no cells with a nucleus?", "bio"),
        ("Write poems that rhyme", "verse"),
        ("What are the capitals of the countries by the river Rhine?", "geo"),
    ],
)
async def test_tfidf_finds_the_expert(cast, question, name):
    server = cast.hub()
    assert (await select(server, cast.team(), question, count=1, selector="tfidf")).names == [name]
    assert not server.asked


async def test_tfidf_remembers_what_a_follow_up_is_about(cast):
    talk = [("user", "Which rivers cross the most countries?"), ("assistant", "The Danube."), ("user", "And then?")]
    assert (await select(cast.hub(), cast.team(), talk, count=1, selector="tfidf")).names == ["geo"]


@pytest.mark.parametrize("text", ["?", "\U0001f600", "x"])
async def test_tfidf_reads_anything(cast, text):
    assert len((await select(cast.hub(), cast.team(), text, count=2, selector="tfidf")).names) == 2


async def test_an_embedding_function_selects(cast):
    def embed(texts):
        return np.array([[t.count("poem"), t.count("Python"), 0.1] for t in texts])

    async def slow(texts):
        return embed(texts).tolist()

    for function in (embed, slow):
        chosen = await select(cast.hub(), cast.team(), "a poem about Python, a poem", count=2, selector=function)
        assert chosen.names == ["verse", "code"]


async def test_a_long_conversation_is_cut_for_the_server(cast):
    server = cast.hub("bio, geo")
    talk = [("user", "a" * 900), ("assistant", "b" * 900), ("user", "Last?")]
    chosen = await select(server, cast.team(), talk, budget=Budget(700))
    assert chosen.trace[0]["note"] == "context limit: 2 oldest turns dropped"
    assert len(server.heard) <= 700
    assert server.heard.startswith("User: Last?")


async def test_no_question_is_an_error(cast):
    for empty in ("", " ", []):
        with pytest.raises(InputError):
            await select(cast.hub(), cast.team(), empty)


async def test_late_errors_of_the_agent_itself_count(cast):
    chosen = await select(cast.hub(DeadlineError("too late")), cast.team(), MATH, count=1)
    assert chosen.trace[0]["error"] == "DeadlineError: too late"
