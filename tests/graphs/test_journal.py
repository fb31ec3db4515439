"""The requests of a batch: added once, held under a lease, ended once."""

import threading

import pytest

from aiflow.errors import UsageError
from aiflow.graphs import sqlite
from aiflow.graphs.journal import Counts, Journal


class Clock:
    now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def journal(tmp_path, clock):
    with Journal(tmp_path / "run.sqlite", clock=clock) as made:
        yield made


def test_adding_is_idempotent_and_refuses_another_input(journal):
    assert journal.add("1", {"a": 1, "b": [2]})
    assert not journal.add("1", {"b": [2], "a": 1})
    with pytest.raises(UsageError, match=r"request '1' is in .* with another input"):
        journal.add_all([("2", {}), ("1", {"a": 2})])
    assert journal.open() == ["1"]  # all or none


@pytest.mark.parametrize(("id", "value"), [("", {}), (7, {}), ("x", {1, 2}), ("x", float("nan")), ("\ud800", {})])
def test_what_cannot_be_kept_is_refused(journal, id, value):
    with pytest.raises(UsageError):
        journal.add(id, value)
    assert journal.counts() == Counts()


def test_half_a_surrogate_pair_in_an_answer_is_kept(journal):
    journal.add("1", "\ud800")
    assert journal.finish("1", "\udfff")
    (request,) = journal.requests()
    assert (request.input, request.answer) == ("\ud800", "\udfff")


def test_a_request_is_taken_by_one_driver_oldest_first(journal):
    journal.add_all((str(i), i) for i in (3, 1, 2))
    assert [(r.id, r.input) for r in journal.take("a", 2)] == [("3", 3), ("1", 1)]
    assert [r.id for r in journal.take("b", 5)] == ["2"]
    assert journal.take("c", 5) == []
    assert journal.counts() == Counts(running=3)
    assert journal.give_back("a", "1") == 1
    assert journal.give_back("a") == 1
    assert journal.open() == ["3", "1"]


def test_a_lease_that_ran_out_is_taken_over(journal, clock):
    journal.add_all([("1", 1), ("2", 2)])
    journal.take("a", 2, lease=10)
    clock.now += 9
    assert journal.renew("a", lease=10) == {"1", "2"}
    clock.now += 9
    assert journal.take("b") == []
    assert journal.counts().running == 2
    clock.now += 1
    assert journal.counts() == Counts(open=2)
    assert journal.open() == ["1", "2"]
    assert journal.take("a") == []  # its own, which it still works on
    (taken,) = journal.take("b", lease=10)
    assert (taken.id, taken.taken, taken.driver) == ("1", 2, "b")
    assert journal.renew("a", lease=10) == {"2"}
    assert journal.give_back("a", "1") == 0


def test_an_answer_is_kept_once(journal, clock):
    journal.add_all([("1", 1), ("2", 2), ("3", 3)])
    journal.take("a", 3, lease=1000)
    clock.now = 1500.0
    assert journal.finish("1", {"answer": "first"})
    assert not journal.finish("1", {"answer": "second"})
    assert not journal.fail("1", "late")
    assert journal.fail("2", "BackendError: no")
    assert not journal.finish("2", "late")
    assert journal.counts() == Counts(running=1, answered=1, failed=1, dropped=2)
    first, second, third = journal.requests()
    assert (first.state, first.answer, first.started, first.ended) == ("answered", {"answer": "first"}, 1000.0, 1500.0)
    assert (second.state, second.answer, second.error) == ("failed", None, "BackendError: no")
    assert (third.state, third.ended) == ("running", None)
    for call in (journal.finish, journal.fail, journal.missed):
        with pytest.raises(UsageError, match="there is no request 'x'"):
            call("x", "y")


def test_failed_requests_can_be_opened_again(journal):
    journal.add_all([("1", 1), ("2", 2)])
    assert journal.missed("1", "e1") == 1
    assert journal.missed("1", "e2") == 2
    journal.fail("1", "e2")
    journal.finish("2", "ok")
    assert journal.reopen() == 1
    (taken,) = journal.take("a", 9)
    assert (taken.id, taken.attempts, taken.error) == ("1", 0, "e2")


def test_many_drivers_take_each_request_once(tmp_path):
    path, count, taken = tmp_path / "run.sqlite", 200, []
    with Journal(path) as journal:
        journal.add_all((str(i), i) for i in range(count))

    def drive(name):
        with Journal(path) as own:
            while got := own.take(name, 3):
                taken.extend(r.id for r in got)
                for request in got:
                    own.finish(request.id, request.input)

    threads = [threading.Thread(target=drive, args=(str(i),)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(taken, key=int) == [str(i) for i in range(count)]
    with Journal(path) as journal:
        assert journal.counts() == Counts(answered=count)
        assert [r.answer for r in journal.requests()] == list(range(count))


def test_the_file_holds_checkpoints_too(tmp_path):
    path = tmp_path / "run.sqlite"
    with Journal(path) as journal:
        saver = sqlite(path)
        journal.add("1", 1)
        assert saver.get_tuple({"configurable": {"thread_id": "1"}}) is None
        assert journal.progress() == (0, 0)
        saver.close()
    with Journal(path) as again:
        assert again.open() == ["1"]


def test_facts_of_the_whole_journal(journal):
    journal.bind("graph", "home")
    journal.bind("graph", "home")
    with pytest.raises(UsageError, match=r"was begun with graph 'home', not 'other\.py:graph'"):
        journal.bind("graph", "other.py:graph")


def test_files_that_are_no_journals(tmp_path):
    (tmp_path / "text").write_text("not a database, " * 100)
    for path in (tmp_path / "text", tmp_path / "nowhere" / "run.sqlite", tmp_path):
        with pytest.raises(UsageError, match="is no journal"):
            Journal(path)
