"""The choice among all ways: arithmetic by hand, wishes, deadlines, memory, what is down, and that it does not flap."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aiflow.collaboration.decoding.costs import one_way
from aiflow.collaboration.familial.split import choose as by_rate
from aiflow.collaboration.planning.choose import choose, options
from aiflow.collaboration.planning.option import MODES, Option
from aiflow.collaboration.planning.prior import gain, quality
from aiflow.collaboration.planning.state import Exit, Line, Party, Speeds, State
from aiflow.collaboration.planning.task import MESSAGE, TOKEN, Task
from aiflow.collaboration.tofc.control import Setting
from aiflow.errors import InputError

PHONE = Party(
    name="phone",
    node="phone",
    speeds=Speeds(prefill=500, decode=0.02, encode=0.3, image_tokens=64),
    gain=3.0,
    family="f",
    exits=(Exit(exit=2, speeds=Speeds(prefill=400, decode=0.02, encode=0.3, image_tokens=64), acceptance=0.8),),
)
EDGE = Party(name="edge", node="edge", speeds=Speeds(prefill=2000, decode=0.03, encode=0.1, image_tokens=64), gain=6.0)
CLOUD = Party(
    name="cloud",
    node="cloud",
    speeds=Speeds(prefill=4000, decode=0.06, per_row=0.001, encode=0.1, image_tokens=64),
    gain=10.0,
    family="f",
    depth=8,
    width=1024,
)
WIFI, FIBRE = Line(rate=2e6, delay=0.005), Line(rate=20e6, delay=0.015)
HOPS = {"wifi": WIFI, "fibre": FIBRE}
HOME = State(
    device=PHONE,
    servers=(EDGE, CLOUD),
    team=(EDGE, PHONE),
    lines={(name, back): line for name, line in HOPS.items() for back in (False, True)},
    routes={
        ("phone", "edge"): (("wifi", False),),
        ("edge", "phone"): (("wifi", True),),
        ("edge", "cloud"): (("fibre", False),),
        ("cloud", "edge"): (("fibre", True),),
        ("phone", "cloud"): (("wifi", False), ("fibre", False)),
        ("cloud", "phone"): (("fibre", True), ("wifi", True)),
    },
    acceptance={("phone", "edge"): 0.7, ("phone", "cloud"): 0.6, ("edge", "cloud"): 0.8},
    settings={
        ("phone", "cloud"): (
            Setting(tokens=8, level=0, nbytes=80, score=0.8),
            Setting(tokens=32, level=1, nbytes=400, score=1.0),
        )
    },
)
TASK = Task(prompt_tokens=200, output_tokens=100)


def way(mode: str, task: Task = TASK, state: State = HOME, **parameters: Any) -> Option:
    found = [o for o in options(task, state) if o.mode == mode and parameters.items() <= o.parameters.items()]
    return found[-1] if not parameters else found[0]


def cut(state: State, link: str) -> State:
    return replace(
        state, lines={hop: replace(one, down=one.down or hop[0] == link) for hop, one in state.lines.items()}
    )


def test_all_modes_are_there_with_a_picture() -> None:
    task = Task(prompt_tokens=20, image_bytes=(100_000,))
    assert {o.mode for o in options(task, HOME)} == set(MODES)


def test_single_models_cost_what_their_parts_cost() -> None:
    assert way("on_device").seconds == pytest.approx(200 / 500 + 99 * 0.02)
    up, down = MESSAGE + TOKEN * 200, MESSAGE + TOKEN * 100
    links = sum(one_way(2 * line.delay, size, line.rate) for line in (WIFI, FIBRE) for size in (up, down))
    cloud = next(o for o in options(TASK, HOME) if o.mode == "server_only" and o.parties == ("cloud",))
    assert cloud.seconds == pytest.approx(200 / 4000 + 99 * 0.06 + links)
    assert cloud.bytes == {"wifi": up + down, "fibre": up + down}


def test_loads_and_pictures_make_it_longer() -> None:
    busy = replace(HOME, servers=(EDGE, replace(CLOUD, load=3.0, wait=1.0)))
    more = way("server_only", state=busy).seconds - way("server_only").seconds
    assert more == pytest.approx(1.0 + 2 * (200 / 4000 + 99 * 0.06)) or more > 0
    seen = Task(prompt_tokens=200, output_tokens=100, image_bytes=(1_000_000,))
    assert way("on_device", seen).seconds - way("on_device").seconds == pytest.approx(0.3 + 64 / 500)


def test_drafting_pays_where_the_judge_is_slow_and_near() -> None:
    drafted = next(o for o in options(TASK, HOME) if o.mode == "draft_verify" and o.parties == ("phone", "cloud"))
    alone = next(o for o in options(TASK, HOME) if o.mode == "server_only" and o.parties == ("cloud",))
    assert drafted.exact
    assert drafted.seconds < alone.seconds
    fast = replace(HOME, servers=(EDGE, replace(CLOUD, speeds=Speeds(prefill=4000, decode=0.004))))
    off = next(o for o in options(TASK, fast) if o.mode == "draft_verify" and o.parties == ("phone", "cloud"))
    assert off.tuned["ahead"] == 0  # the judge alone is faster


@pytest.mark.parametrize("rate", [2e4, 2e5, 2e6, 2e7, 2e8])
def test_split_reads_the_prompt_by_what_the_split_rule_says(rate: float) -> None:
    """With one link and no waiting for the device, activations win exactly where `familial.split.choose` says."""
    near = replace(
        HOME,
        device=replace(PHONE, exits=(replace(PHONE.exits[0], speeds=Speeds(prefill=1e9, decode=0.02)),)),
        lines={(name, b): Line(rate=r) for name, r in (("wifi", rate), ("fibre", 1e12)) for b in (False, True)},
    )
    task = Task(prompt_tokens=800, output_tokens=1)
    acts, ids = (way("split", task, near, transport=t) for t in ("activations", "ids"))
    rule = by_rate(800, 1024, "float32", rate, 2 / 8 * 800 / 4000)
    assert (acts.seconds < ids.seconds) == (rule == "activations")


def test_best_fast_and_a_number() -> None:
    assert choose(TASK, HOME).chosen.quality == pytest.approx(1.0)
    assert choose(replace(TASK, quality="fast"), HOME).chosen.mode == "on_device"
    good = choose(replace(TASK, quality=0.6), HOME).chosen
    assert good.quality >= 0.6
    assert good.seconds == min(o.seconds for o in options(TASK, HOME) if o.quality >= 0.6)


def test_exact_means_the_top_models_text() -> None:
    plan = choose(replace(TASK, exact=True, quality="fast"), HOME)
    assert plan.chosen.exact
    assert plan.chosen.parties[-1] == "cloud"
    assert "not the top model's text" in next(o.why_not for o in plan.options if o.mode == "on_device")


def test_a_deadline_is_met_at_a_bad_moment_too() -> None:
    shaky = replace(HOME, servers=(EDGE, replace(CLOUD, spread=1.0)))
    plan = choose(replace(TASK, deadline=4.0), shaky)
    assert plan.chosen.slow <= 4.0
    assert any("at a bad moment, the deadline is 4 s" in o.why_not for o in plan.options)
    late = choose(replace(TASK, deadline=0.01), HOME)
    assert late.late
    assert late.chosen.seconds == min(o.seconds for o in late.options)


def test_what_is_down_is_not_used_and_says_so() -> None:
    plan = choose(TASK, cut(HOME, "fibre"))
    assert "cloud" not in plan.chosen.parties
    assert "link fibre is down" in {o.why_not for o in plan.options}
    gone = replace(HOME, servers=(replace(EDGE, down="its process is gone"), CLOUD))
    assert "edge: its process is gone" in {o.why_not for o in choose(TASK, gone).options}
    with pytest.raises(InputError, match="link wifi is down"):
        choose(replace(TASK, exact=True), cut(HOME, "wifi"))


def test_memory() -> None:
    small = replace(HOME, device=replace(PHONE, loaded=False, memory=8e9), free={"phone": 4e9})
    why = next(o.why_not for o in choose(TASK, small).options if o.mode == "on_device")
    assert why == "phone has 4.0 GB free, 8.0 GB are needed"


def test_who_sees_nothing() -> None:
    blind = replace(HOME, device=replace(PHONE, speeds=Speeds(prefill=500, decode=0.02), exits=()))
    task = Task(prompt_tokens=20, image_bytes=(10_000,))
    assert next(o.why_not for o in choose(task, blind).options if o.mode == "on_device") == "phone sees no images"
    two = Task(prompt_tokens=20, image_bytes=(10_000, 10_000))
    assert "2 images; it sends one" in {o.why_not for o in choose(two, HOME).options}


def test_a_way_is_kept_until_another_is_clearly_sooner() -> None:
    task = replace(TASK, quality="fast")
    first = choose(task, HOME).chosen
    second = next(o for o in options(task, HOME) if o.key != first.key)
    near = replace(HOME, device=replace(PHONE, load=0.97 * second.seconds / first.seconds))
    assert choose(task, near).chosen.key == first.key
    assert choose(task, near, last=second.key).kept
    far = replace(HOME, device=replace(PHONE, load=0.9 * second.seconds / first.seconds))
    assert choose(task, far, last=second.key).chosen.key == first.key


def test_a_team_of_one_needs_no_selection_by_all() -> None:
    one, two = (way("collaborate", devices=n) for n in (1, 2))
    assert (one.parameters["select"], two.parameters["select"]) == ("server", "all")
    assert two.bytes["wifi"] > way("server_only").bytes["wifi"]
    lifted = replace(HOME, lift=0.2)
    assert max(o.quality for o in options(TASK, lifted) if o.mode == "collaborate") == pytest.approx(1.2)
    assert choose(TASK, lifted).chosen.mode == "collaborate"


def test_quality_by_capacity() -> None:
    assert gain(1.0, 2.0**30, 20.0) == pytest.approx(10.0)
    assert quality(PHONE, HOME) == pytest.approx(0.3)
    unknown = replace(HOME, device=replace(PHONE, gain=None))
    assert quality(unknown.device, unknown) == 0.5
    with pytest.raises(InputError, match="flops"):
        gain(1.0, 1.0)


@pytest.mark.parametrize(
    "wrong",
    [
        {"prompt_tokens": 0},
        {"output_tokens": True},
        {"deadline": -1.0},
        {"quality": 2.0},
        {"quality": "good"},
        {"image_bytes": (0,)},
    ],
)
def test_tasks_that_cannot_be_meant(wrong: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=next(iter(wrong)).split("_")[0]):
        Task(**({"prompt_tokens": 1} | wrong))


@settings(deadline=None, max_examples=60)
@given(
    rate=st.floats(1e4, 1e8),
    delay=st.floats(0, 0.2),
    load=st.floats(1, 8),
    tokens=st.integers(1, 400),
    wish=st.sampled_from(["best", "fast", 0.5]),
)
def test_the_choice_meets_the_wish_and_no_allowed_way_is_sooner(
    rate: float, delay: float, load: float, tokens: int, wish: Any
) -> None:
    state = replace(
        HOME,
        servers=(EDGE, replace(CLOUD, load=load)),
        lines={hop: replace(one, rate=rate, delay=delay) for hop, one in HOME.lines.items()},
    )
    task = Task(prompt_tokens=50, output_tokens=tokens, quality=wish)
    plan = choose(task, state)
    least = {"best": max(o.quality for o in plan.options) * 0.99, "fast": 0.0}.get(wish, wish)
    assert plan.chosen.quality >= least - 1e-9
    assert plan.chosen.seconds == min(o.seconds for o in plan.options if o.quality >= least)
    assert all(o.why_not for o in plan.options if o.key != plan.chosen.key)
    assert all(o.slow >= o.seconds for o in plan.options)
