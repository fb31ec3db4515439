"""Drivers that are killed by SIGKILL at any moment: every request is answered once, and no finished step runs again.

The drivers are forks of a small process that has imported everything and has no other thread.
"""

import asyncio
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import defaultdict
from pathlib import Path

from aiflow.graphs.journal import Counts, Journal

REQUESTS, STEPS = 20, ("plan", "draft", "check")
FOREVER = 60.0


def test_a_driver_that_is_killed_again_and_again(tmp_path):
    said = run(tmp_path, "one", 0)
    check(tmp_path)
    assert said["kills"] >= 4
    with Journal(tmp_path / "journal") as journal:
        assert journal.counts() == Counts(answered=REQUESTS, resumed=journal.counts().resumed)
        assert journal.counts().resumed >= 1


def test_two_drivers_of_which_one_is_killed(tmp_path):
    """Nobody says that it is dead: its lease runs out, and the other takes over."""
    run(tmp_path, "two", 0)
    check(tmp_path)
    with Journal(tmp_path / "journal") as journal:
        assert journal.counts().answered == REQUESTS
        assert {r.driver for r in journal.requests()} == {"one", "two"}


def check(folder):
    """Each answer is its question's, and a step whose successor has begun is never begun again."""
    with Journal(folder / "journal") as journal:
        for request in journal.requests():
            assert request.answer["answer"] == f"{request.id}: plan draft check"
            assert not request.error
    steps = defaultdict(list)
    for line in (folder / "log").read_text().splitlines():
        id, step = line.split()
        steps[id].append(STEPS.index(step))
    assert len(steps) == REQUESTS
    assert all(order == sorted(order) and set(order) == {0, 1, 2} for order in steps.values())


def run(folder, how, seed):
    with Journal(folder / "journal") as journal:
        journal.add_all(
            (str(i), {"messages": [{"role": "user", "content": f"{i}:"}], "id": str(i)}) for i in range(REQUESTS)
        )
    done = subprocess.run(
        [sys.executable, __file__, str(folder), how, str(seed)], text=True, capture_output=True, timeout=90, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def graph(log: Path):
    from langgraph.graph import END, START, MessagesState, StateGraph

    class State(MessagesState):
        id: str

    def step(name):
        async def node(state):
            with log.open("a") as file:
                file.write(f"{state['id']} {name}\n")
            await asyncio.sleep(0.01)
            return {"messages": [("assistant", f"{state['messages'][-1].content} {name}")]}

        return node

    made = StateGraph(State)
    for name in STEPS:
        made.add_node(name, step(name))
    for before, after in zip([START, *STEPS], [*STEPS, END], strict=True):
        made.add_edge(before, after)
    return made


def fork(folder: Path, name: str, lease: float) -> int:
    from aiflow.graphs.batch import work

    if pid := os.fork():
        return pid
    with Journal(folder / "journal") as journal:
        asyncio.run(work(journal, graph(folder / "log"), parallel=4, driver=name, lease=lease))
    os._exit(0)


def one(folder: Path, dice: random.Random) -> int:
    """Kills driver after driver, each after it has begun a few steps, until one ends by itself; how many were."""
    kills = 0
    while True:
        pid = fork(folder, "one", FOREVER)  # the same name: it goes on at once with what the dead one held
        if kill(pid, folder, dice):
            return kills
        kills += 1


def two(folder: Path, dice: random.Random) -> int:
    """Kills one of two drivers; the other's lease is long enough for a busy machine."""
    first = fork(folder, "one", 2.0)
    wait(first, folder, 15)
    second = fork(folder, "two", FOREVER)
    assert not kill(first, folder, dice)
    assert os.waitpid(second, 0)[1] == 0
    return 1


def kill(pid: int, folder: Path, dice: random.Random) -> bool:
    """Kills a driver at some moment after 1 to 15 more steps; whether it had ended by itself."""
    wait(pid, folder, dice.randint(1, 15))
    time.sleep(dice.uniform(0, 0.02))
    os.kill(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    assert status in (0, signal.SIGKILL), status
    return status == 0


def wait(pid: int, folder: Path, steps: int) -> None:
    """Until ``steps`` more have begun, or the process has ended."""
    goal, limit = begun(folder) + steps, time.monotonic() + FOREVER
    while begun(folder) < goal and not os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT):
        assert time.monotonic() < limit
        time.sleep(0.001)


def begun(folder: Path) -> int:
    log = folder / "log"
    return log.read_bytes().count(b"\n") if log.exists() else 0


if __name__ == "__main__":
    import aiflow.graphs.batch  # noqa: F401 - before the forks

    kills = {"one": one, "two": two}[sys.argv[2]](Path(sys.argv[1]), random.Random(int(sys.argv[3])))
    print(json.dumps({"kills": kills}))
