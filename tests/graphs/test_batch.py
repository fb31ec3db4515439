"""Drivers that work on a journal: retries from checkpoints, ends, stops, and two at once."""

import asyncio
from typing import TypedDict

import pytest
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.types import interrupt

from aiflow.errors import BackendError, InputError, UsageError
from aiflow.graphs import device_server
from aiflow.graphs.batch import work
from aiflow.graphs.journal import Counts, Journal


@pytest.fixture
def journal(tmp_path):
    with Journal(tmp_path / "run.sqlite") as made:
        yield made


def questions(journal, count):
    journal.add_all((str(i), {"messages": [{"role": "user", "content": f"question {i}"}]}) for i in range(count))


def chain(*steps, state=MessagesState):
    """A graph of ``steps`` one after the other."""
    graph = StateGraph(state)
    names = [step.__name__ for step in steps]
    for name, step in zip(names, steps, strict=True):
        graph.add_node(name, step)
    for before, after in zip([START, *names], [*names, END], strict=True):
        graph.add_edge(before, after)
    return graph


class Plays:
    """Two steps, of which the second says what ``play`` returns for the question and its turn."""

    def __init__(self, play=lambda _question, _turn: "fine"):
        self.play, self.log = play, []

    def graph(self):
        return chain(self.first, self.second)

    async def first(self, state):
        self.log.append(("first", state["messages"][0].content))
        return {"messages": [("assistant", "thought")]}

    async def second(self, state):
        question = state["messages"][0].content
        self.log.append(("second", question))
        said = self.play(question, self.log.count(("second", question)))
        if asyncio.iscoroutine(said):
            said = await said
        if isinstance(said, BaseException):
            raise said
        return {"messages": [("assistant", said)]}


async def test_every_request_is_answered_by_an_ordinary_graph(cast, journal):
    questions(journal, 20)
    server = cast.hub(merge=lambda turns: turns[-1].text.split("\n")[0])
    await work(journal, device_server(server, cast.team()), parallel=4)
    assert journal.counts() == Counts(answered=20)
    answers = [r.answer for r in journal.requests()]
    assert [a["answer"] for a in answers] == [f"User: question {i}" for i in range(20)]
    assert {record["step"] for record in answers[0]["trace"]} == {"select", "answer", "merge", "revise"}
    await work(journal, device_server(server, cast.team()))  # nothing is left to do
    assert journal.counts().dropped == 0


@pytest.mark.parametrize("compiled", [True, False])
async def test_an_agents_error_is_tried_again_from_the_checkpoint(journal, compiled):
    plays = Plays(lambda q, turn: BackendError("busy") if q == "question 1" and turn < 3 else f"{q}!")
    questions(journal, 3)
    await work(journal, plays.graph().compile() if compiled else plays.graph(), backoff=0.01)
    assert [r.answer["answer"] for r in journal.requests()] == [f"question {i}!" for i in range(3)]
    assert [r.attempts for r in journal.requests()] == [0, 2, 0]
    assert plays.log.count(("first", "question 1")) == 1
    assert plays.log.count(("second", "question 1")) == 3
    assert journal.counts().resumed == 0  # by the same driver


@pytest.mark.parametrize(
    ("error", "tries", "said"),
    [
        (BackendError("busy"), 3, "BackendError: busy"),
        (KeyError("bug"), 3, "KeyError: 'bug'"),
        (InputError("too long"), 1, "InputError: too long"),
    ],
)
async def test_a_request_that_keeps_failing_fails_and_the_others_do_not(journal, error, tries, said):
    plays = Plays(lambda q, _turn: error if q == "question 1" else "fine")
    questions(journal, 3)
    await work(journal, plays.graph(), attempts=3, backoff=0.01)
    assert journal.counts() == Counts(answered=2, failed=1)
    failed = [*journal.requests()][1]
    assert (failed.state, failed.error, failed.attempts) == ("failed", said, tries)
    assert plays.log.count(("second", "question 1")) == tries


async def test_an_attempt_that_hangs_ends_at_the_deadline(journal):
    plays = Plays(lambda q, turn: asyncio.sleep(3600 if (q, turn) == ("question 0", 1) else 0, "fine"))
    questions(journal, 2)
    await work(journal, plays.graph(), deadline=1.0, backoff=0.01)
    assert journal.counts() == Counts(answered=2)
    assert [r.attempts for r in journal.requests()] == [1, 0]
    assert plays.log.count(("first", "question 0")) == 1


async def test_a_graph_that_gives_up_has_failed(journal):
    plays = Plays(lambda _q, turn: asyncio.CancelledError() if turn == 1 else "fine")
    questions(journal, 1)
    await work(journal, plays.graph(), backoff=0.01)
    assert [(r.state, r.attempts) for r in journal.requests()] == [("answered", 1)]


async def test_a_cancelled_driver_gives_its_requests_back(journal):
    plays = Plays(lambda q, turn: asyncio.sleep(3600 if turn == 1 else 0, f"{q}!"))
    questions(journal, 4)
    task = asyncio.create_task(work(journal, plays.graph(), parallel=2))
    async with asyncio.timeout(20):
        while len(plays.log) < 4:
            await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert journal.counts() == Counts(open=4)
    await work(journal, plays.graph(), parallel=2, deadline=1.0, backoff=0.01)
    assert [r.answer["answer"] for r in journal.requests()] == [f"question {i}!" for i in range(4)]
    assert sorted(q for step, q in plays.log if step == "first") == [f"question {i}" for i in range(4)]
    assert journal.counts().resumed == 2


async def test_a_driver_that_is_to_stop_ends_what_runs_and_begins_nothing(journal):
    plays = Plays(lambda _q, _turn: asyncio.sleep(0.05, "fine"))
    questions(journal, 10)
    await work(journal, plays.graph(), parallel=2, stopping=lambda: len(plays.log) >= 3)
    counts = journal.counts()
    assert counts.running == 0
    assert 2 <= counts.answered <= 4
    assert counts.open == 10 - counts.answered


async def test_two_drivers_share_a_journal(journal, tmp_path):
    plays = Plays(lambda q, _turn: asyncio.sleep(0.01, f"{q}!"))
    questions(journal, 30)
    with Journal(tmp_path / "run.sqlite") as other:
        drivers = [work(journal, plays.graph(), driver="a"), work(other, plays.graph(), driver="b")]
        await asyncio.gather(*drivers)
    assert journal.counts() == Counts(answered=30)
    assert len(plays.log) == 60  # nothing was done twice
    assert {r.driver for r in journal.requests()} == {"a", "b"}


async def test_a_request_that_another_driver_took_over_is_left(tmp_path):
    """The first driver is taken for dead while a step of it hangs: the second answers, and the first lets go."""
    questions_seen = Plays(lambda _q, turn: asyncio.sleep(3600 if turn == 1 else 0, f"turn {turn}"))
    now = [1000.0]
    with (
        Journal(tmp_path / "j", clock=lambda: now[0]) as journal,
        Journal(tmp_path / "j", clock=lambda: now[0]) as other,
    ):
        questions(journal, 1)
        first = asyncio.create_task(work(journal, questions_seen.graph(), driver="a", lease=1.0))
        async with asyncio.timeout(20):
            while len(questions_seen.log) < 2:
                await asyncio.sleep(0.01)
            renew, journal.renew = journal.renew, lambda *_, **__: frozenset({"0"})  # a clock that stood still
            now[0] += 60
            await work(other, questions_seen.graph(), driver="b", lease=100.0)
            journal.renew = renew
            await first
        assert journal.counts() == Counts(answered=1, resumed=1)
        assert [(r.driver, r.answer["answer"]) for r in journal.requests()] == [("b", "turn 2")]


async def test_a_process_with_the_name_of_a_dead_one_goes_on_with_its_requests(journal):
    questions(journal, 2)
    journal.take("a", 2, lease=3600)
    await asyncio.wait_for(work(journal, Plays().graph(), driver="a"), 20)
    assert journal.counts() == Counts(answered=2)


async def test_a_graph_that_asks_a_person_fails(journal):
    async def ask(_state):
        return {"messages": [("assistant", interrupt("May I?"))]}

    questions(journal, 1)
    await work(journal, chain(ask))
    (request,) = journal.requests()
    assert request.state == "failed"
    assert "stopped to ask a person" in request.error


async def test_a_state_without_messages_is_kept_whole(journal):
    class Sum(TypedDict):
        total: int

    async def add(state):
        return {"total": state["total"] + 1}

    journal.add("1", {"total": 1})
    await work(journal, chain(add, state=Sum))
    assert [r.answer for r in journal.requests()] == [{"total": 2}]


async def test_an_answer_that_is_no_json_fails(journal):
    questions(journal, 1)
    await work(journal, Plays().graph(), answer=lambda state: state["messages"][-1])
    (request,) = journal.requests()
    assert request.state == "failed"
    assert "is not JSON" in request.error


async def test_what_is_no_graph_is_refused(journal):
    with pytest.raises(UsageError, match="is no LangGraph graph"):
        await work(journal, lambda state: state)
