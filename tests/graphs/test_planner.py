"""The planner: what it learns changes the plan, silence is noticed and looked after, noise does not make it flap."""

from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from aiflow.cluster.profiles import Profiles
from aiflow.cluster.topology import Topology
from aiflow.collaboration.planning.task import Task
from aiflow.errors import InputError
from aiflow.graphs.workflows.planner import EVERY, SOON, Planner

NODES = Topology(
    nodes={"phone": "device", "edge": "edge", "cloud": "cloud"},
    links=[
        {"between": ["phone", "edge"], "rate": "4 MB/s", "rtt": "10 ms"},
        {"between": ["edge", "cloud"], "rate": "12 MB/s", "rtt": "40 ms"},
    ],
)


def agent(name: str, decode: float, flops: float, **more: Any) -> dict[str, Any]:
    return {"agent": name, "node": name, "prefill": 1000, "decode": decode, "capacity": 1.0, "flops": flops, **more}


KNOWN = Profiles(
    agents=[agent("cloud", 0.02, 1e11), agent("phone", 0.03, 1e9), agent("edge", 0.025, 1e10)],
    pairs=[{"draft": "phone", "judge": "cloud", "acceptance": 0.6}],
)
TASK = Task(prompt_tokens=100, output_tokens=100, quality="fast")


@pytest.fixture
def planner() -> Planner:
    return Planner(KNOWN, NODES)


def test_roles_follow_the_tiers(planner: Planner) -> None:
    assert planner.device.agent == "phone"
    assert [p.agent for p in planner.servers] == ["edge", "cloud"]
    assert planner.hops("phone", "cloud") == (("phone-edge", False), ("edge-cloud", False))
    assert planner.hops("cloud", "phone") == (("edge-cloud", True), ("phone-edge", True))


def test_a_busy_server_is_left_and_taken_again(planner: Planner) -> None:
    assert planner.plan(TASK, 0.0).chosen.parties == ("cloud",)
    version = planner.version
    for now in (1.0, 2.0):
        planner.computed("cloud", 1.0, 5.0, now)
    assert planner.version > version
    assert planner.plan(TASK, 2.0).chosen.parties == ("edge",)
    planner.computed("cloud", 1.0, 1.0, 3.0)
    assert planner.plan(TASK, 3.0).chosen.parties == ("cloud",)


def test_a_slow_link_keeps_pictures_at_home() -> None:
    looks = {"encode": 0.1, "image_tokens": 64}
    known = Profiles(agents=[p.model_copy(update=looks) for p in KNOWN.agents])
    seeing = Planner(known, NODES)
    task = Task(prompt_tokens=20, output_tokens=100, image_bytes=(500_000,), quality="fast")
    assert seeing.plan(task, 0.0).chosen.mode == "server_only"
    for now in (1.0, 2.0):
        seeing.transferred("phone-edge", False, 1e5, 2.0, now)
    assert seeing.plan(task, 2.0).chosen.mode == "on_device"


def test_silence_is_an_outage_until_something_arrives(planner: Planner) -> None:
    planner.transferred("phone-edge", False, 1e4, 0.01, 0.0)
    planner.silent("phone-edge", False, 1.0)
    assert planner.plan(TASK, 1.0).chosen.mode == "on_device"
    exact = planner.plan(Task(prompt_tokens=100, exact=True), 1.0)
    assert exact.waits  # nothing else is exact
    planner.transferred("phone-edge", False, 1e4, 5.0, 6.0)
    assert planner.plan(TASK, 6.0).chosen.mode != "on_device"


def test_who_is_lost_is_not_asked(planner: Planner) -> None:
    planner.lost("cloud", "its process is gone")
    plan = planner.plan(TASK, 0.0)
    assert plan.chosen.parties == ("edge",)
    assert "cloud: its process is gone" in {o.why_not for o in plan.options}
    planner.returned("cloud")
    assert planner.plan(TASK, 0.0).chosen.parties == ("cloud",)


def test_ways_that_failed_are_not_taken_again(planner: Planner) -> None:
    first = planner.plan(TASK, 0.0).chosen
    second = planner.plan(TASK, 0.0, without=[first.key])
    assert second.chosen.key != first.key
    assert next(o.why_not for o in second.options if o.key == first.key) == "has just failed"


def test_drafts_that_fall_stop_drafting() -> None:
    slow = Profiles(agents=[agent("phone", 0.01, 1e9), agent("cloud", 0.06, 1e11)], pairs=KNOWN.pairs)
    planner = Planner(slow, NODES)
    task = Task(prompt_tokens=50, output_tokens=100, exact=True)
    assert planner.plan(task, 0.0).chosen.tuned["ahead"] > 0
    for _ in range(30):
        planner.judged("phone", "cloud", 1, 99)
    assert not planner.plan(task, 0.0).chosen.tuned.get("ahead")  # the cloud decodes alone


def test_it_looks_after_what_it_has_not_heard_of(planner: Planner) -> None:
    assert set(planner.probes(0.0)) == {"phone", "edge", "cloud"}
    assert planner.probes(EVERY / 2) == []
    for hop in (*planner.hops("phone", "edge"), *planner.hops("edge", "phone")):
        planner.transferred(*hop, 1e4, 0.01, EVERY)
    for name in ("edge", "phone"):
        planner.computed(name, 1.0, 1.0, EVERY)
    assert planner.probes(EVERY) == ["cloud"]
    planner.silent("phone-edge", False, EVERY)
    assert set(planner.probes(EVERY + SOON)) == {"edge", "cloud"}


def test_noise_does_not_make_it_flap() -> None:
    """Two servers that are alike: with the margin it changes less often than without."""
    twins = Profiles(agents=[agent("phone", 1.0, 1e9), agent("edge", 0.02, 1e11), agent("cloud", 0.018, 1e11)])

    def changes(keep: bool) -> int:
        rng, planner, taken = np.random.default_rng(0), Planner(twins, NODES, keep=keep), []
        for k in range(200):
            for name in ("edge", "cloud"):
                planner.computed(name, 1.0, float(rng.lognormal(0, 0.1)), k * 0.1)
            taken.append(planner.plan(TASK, k * 0.1).chosen.parties)
        return sum(a != b for a, b in pairwise(taken))

    with_margin, without = changes(True), changes(False)
    assert with_margin < without / 1.5


@pytest.mark.parametrize(
    ("how", "says"), [({"device": "x"}, "'x' has no profile"), ({"servers": ["y"]}, "'y' has no profile")]
)
def test_who_is_not_profiled(how: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError, match=says):
        Planner(KNOWN, NODES, **how)
    with pytest.raises(InputError, match="no node of it"):
        Planner(KNOWN, Topology(nodes={"cloud": "cloud"}))
