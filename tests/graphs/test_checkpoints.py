"""Threads of conversation, and a run that goes on after SIGKILL."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from langgraph.checkpoint.memory import InMemorySaver

from aiflow.graphs import device_server, sqlite
from aiflow.types import Answer, conversation

THREAD = {"configurable": {"thread_id": "1"}}


@pytest.fixture(params=["memory", "sqlite"])
def saver(request, tmp_path):
    return InMemorySaver() if request.param == "memory" else sqlite(tmp_path / "run.sqlite")


@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_second_turn_goes_on_with_the_conversation(cast, saver, asynchronous):
    server, devices = cast.hub(), cast.team(math=lambda turns: f"{len(turns)} turns")
    graph = device_server(server, devices, checkpointer=saver)

    def turn(text):
        given = cast.ask(text)
        return asyncio.run(graph.ainvoke(given, THREAD)) if asynchronous else graph.invoke(given, THREAD)

    first, second = turn("2+2?"), turn("And its double?")
    assert [m.content for m in second["messages"]] == [
        "2+2?",
        "the joint answer",
        "And its double?",
        "the joint answer",
    ]
    assert first["answers"]["math"] == "1 turns"
    assert second["answers"]["math"] == "3 turns"
    assert second["finals"]["math"] == "5 turns"
    assert len(first["trace"]) == len(second["trace"]) == 6
    assert "User: 2+2?\nAssistant: the joint answer\nUser: And its double?\n\nAnswers:" in server.heard
    other = graph.invoke(cast.ask("Hi"), {"configurable": {"thread_id": "2"}})
    assert len(other["messages"]) == 2


def test_a_turn_with_less_leaves_nothing_of_the_last_one(cast, saver):
    devices = cast.team()
    graph = device_server(cast.hub(), devices, checkpointer=saver)
    graph.invoke(cast.ask(), THREAD)
    devices[0].play = devices[1].play = cast.DEAD
    state = graph.invoke(cast.ask("Again?"), THREAD)
    assert (state["answers"], state["finals"], state["merged"]) == ({}, {}, "the server's own")


async def test_one_file_serves_sync_and_async(cast, tmp_path):
    graph = device_server(cast.hub(), cast.team(), checkpointer=sqlite(tmp_path / "run.sqlite"))
    await graph.ainvoke(cast.ask("one"), THREAD)
    graph.invoke(cast.ask("two"), THREAD)
    again = device_server(cast.hub(), cast.team(), checkpointer=sqlite(str(tmp_path / "run.sqlite")))
    assert len((await again.aget_state(THREAD)).values["messages"]) == 4
    history = [s async for s in again.aget_state_history(THREAD)]
    assert len(history) == len([*again.get_state_history(THREAD)]) == 12
    await again.checkpointer.adelete_thread("1")
    assert not again.get_state(THREAD).values


async def test_many_threads_at_once(cast, tmp_path):
    graph = device_server(
        cast.hub(merge=lambda t: t[-1].text.split("\n")[0]), cast.team(), checkpointer=sqlite(tmp_path / "x")
    )
    runs = [graph.ainvoke(cast.ask(f"question {i}"), {"configurable": {"thread_id": str(i)}}) for i in range(30)]
    states = await asyncio.gather(*runs)
    assert [s["merged"] for s in states] == [f"User: question {i}" for i in range(30)]


def test_closing(tmp_path):
    saver = sqlite(tmp_path / "x")
    saver.close()
    with pytest.raises(Exception, match="closed"):
        saver.get_tuple(THREAD)


def test_an_interrupted_graph_resumes(cast, saver):
    devices = cast.team()
    graph = device_server(cast.hub(), devices, checkpointer=saver)
    paused = graph.invoke(cast.ask(), THREAD, interrupt_before=["merge"])
    assert paused["merged"] == ""
    assert graph.get_state(THREAD).next == ("merge",)
    assert graph.invoke(None, THREAD)["merged"] == "the joint answer"
    assert len(devices[0].asked) == 2


@pytest.mark.parametrize(
    ("step", "mode", "durability"),
    [("answer", "async", "sync"), ("merge", "sync", "async"), ("revise", "async", "sync")],
)
def test_a_run_survives_sigkill_between_steps(tmp_path, step, mode, durability):
    """``step`` hangs in a process that is killed; another run does the rest, and asks nobody twice."""
    victim = subprocess.Popen([sys.executable, __file__, str(tmp_path), step, mode, durability])
    log = tmp_path / "log"
    try:
        limit = time.monotonic() + 60
        while not (log.exists() and f"hangs in {step}" in log.read_text()):
            assert time.monotonic() < limit
            assert victim.poll() is None
            time.sleep(0.02)
        time.sleep(0.5 if durability == "async" else 0)  # that mode writes while the next step begins
    finally:
        os.kill(victim.pid, signal.SIGKILL)
        victim.wait()
    if step == "merge":
        again = subprocess.check_output(
            [sys.executable, __file__, str(tmp_path), "resume", mode, durability], text=True
        )
    else:
        again = _run(tmp_path, "resume", mode, durability)  # the same without the seconds that a process takes to start
    assert json.loads(again) == {"merged": "joint", "finals": {"math": "math revise", "code": "code revise"}}
    asked = [line for line in log.read_text().splitlines() if "hangs" not in line]
    assert sorted(asked) == sorted(["math answer", "code answer", "hub merge", "math revise", "code revise"])


class Logged:
    """An agent that logs each ask to a file, and then answers it or hangs."""

    def __init__(self, name: str, log: Path, hang: str) -> None:
        self.name, self.about, self.node, self.log, self.hang = name, "", name, log, hang

    async def ask(self, messages, **_):
        text = conversation(messages)[-1].text
        step = "merge" if "\n\nAnswers:\n" in text else "revise" if "joint answer" in text else "answer"
        with self.log.open("a") as log:
            log.write(f"{self.name} {'hangs in ' if step == self.hang else ''}{step}\n")
        if step == self.hang:
            await asyncio.sleep(3600)
        return Answer(text="joint" if step == "merge" else f"{self.name} {step}")

    stream = ask


def _run(folder: Path, step: str, mode: str, durability) -> str:
    server, *devices = (Logged(name, folder / "log", step) for name in ("hub", "math", "code"))
    graph = device_server(server, devices, checkpointer=sqlite(folder / "run.sqlite"))
    given = None if step == "resume" else {"messages": [("user", "2+2?")]}
    if mode == "sync":
        state = graph.invoke(given, THREAD, durability=durability)
    else:
        state = asyncio.run(graph.ainvoke(given, THREAD, durability=durability))
    return json.dumps({key: state[key] for key in ("merged", "finals")})


if __name__ == "__main__":
    print(_run(Path(sys.argv[1]), *sys.argv[2:]))
