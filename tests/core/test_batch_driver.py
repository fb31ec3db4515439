"""The loss of a cluster, as a driver notices it. Without Ray."""

import asyncio
import subprocess
import sys

import pytest

from aiflow.batch_driver import LOST, _beside
from aiflow.batch_health import Health
from aiflow.errors import ClusterError


class Stop:
    late = False

    def overdue(self):
        return self.late


class Cluster:
    """What answers at the head's address: a cluster's id, or nothing."""

    def __init__(self):
        self.id, self.done = "one", 0

    def identity(self, _address):
        if self.id is None:
            raise ClusterError("nobody")
        return self.id

    def progress(self):
        return self.done

    def health(self, headless=0.5):
        return Health("head:1", self.progress, self.identity, headless)


@pytest.fixture(autouse=True)
def often(monkeypatch):
    monkeypatch.setattr("aiflow.batch_health._ASK", 0.01)
    monkeypatch.setattr("aiflow.batch_driver._PROBE", 0.05)


@pytest.mark.parametrize(("id", "why"), [(None, "nothing was answered for 0.5 s"), ("two", "another cluster answers")])
async def test_work_ends_with_the_cluster(id, why):
    cluster, ended = Cluster(), []

    async def work():
        try:
            cluster.id = id
            await asyncio.sleep(3600)
        finally:
            ended.append("given back")

    with pytest.raises(ClusterError, match=why):
        await asyncio.wait_for(_beside(work(), Stop(), cluster.health()), 30)
    assert ended == ["given back"]


async def test_work_goes_on_without_a_head():
    cluster = Cluster()

    async def work():
        cluster.id = None
        for _ in range(20):  # twice as long as it may be without a head, with an answer now and then
            await asyncio.sleep(0.05)
            cluster.done += 1
        cluster.id = "one"
        await asyncio.sleep(0.2)

    await asyncio.wait_for(_beside(work(), Stop(), cluster.health()), 30)
    assert cluster.done == 20


async def test_work_that_ends_by_itself():
    await _beside(asyncio.sleep(0.2), Stop(), Cluster().health())
    with pytest.raises(KeyError):
        await _beside(fail(), Stop(), Cluster().health())


async def fail():
    await asyncio.sleep(0.01)
    raise KeyError("bug")


async def test_work_that_does_not_end_in_time_after_a_stop():
    stop = Stop()
    asyncio.get_running_loop().call_later(0.1, setattr, stop, "late", True)
    await asyncio.wait_for(_beside(asyncio.sleep(3600), stop, Health(None, int, str)), 30)


def test_a_cluster_that_never_lets_one_in_ends_the_process():
    code = "import time; from aiflow.batch_driver import _limit\nwith _limit(0.2, 'no way in'): time.sleep(60)"
    done = subprocess.run([sys.executable, "-c", code], text=True, capture_output=True, timeout=40, check=False)
    assert (done.returncode, done.stderr) == (LOST, "aiflow: no way in for 0.2 s.\n")
