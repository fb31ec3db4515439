"""The bench of split inference on the family that ships: few seeds, and that its checks can fail."""

import json
from typing import Any

import pytest

from aiflow.bench import split
from aiflow.bench.split import latency, outages, sizes
from aiflow.bench.split.simulate import Pace, Path, play
from aiflow.collaboration.familial import back
from aiflow.collaboration.familial.front import Manner
from aiflow.errors import UnknownModelError, UsageError


@pytest.fixture(scope="module")
def lab() -> outages._Lab:
    from transformers import AutoTokenizer

    from aiflow.agents.backends.transformers.members import quietly
    from aiflow.collaboration.familial.family import Family

    family = Family.from_pretrained(split.FAMILY, dtype="float32")
    with quietly(str(split.FAMILY)):
        return outages._Lab(family, AutoTokenizer.from_pretrained(split.FAMILY))


def test_outages_change_no_text_and_lose_no_token(lab: outages._Lab) -> None:
    for policy in ("lossless", "best_effort"):
        found = outages._policy(lab, policy, 2)  # type: ignore[arg-type]
        assert (found["sessions"], found["lost_tokens"], found["server_has_all"]) == (8, 0, 1.0)
        assert found["disturbed"] >= 6
        assert found["first_waits_ms"] == pytest.approx(0.0, abs=1e-6)
        if policy == "lossless":
            assert (found["equal_text"], found["equal_state"]) == (1.0, 1.0)
            assert found["worst_difference"] < 1e-4
            assert found["taken_back"] > 0


def test_a_server_that_forgets_is_found_out(lab: outages._Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """The negative control: a server that judges nothing takes over the device's text, and the bench says so."""
    monkeypatch.setattr(back.Back, "_refuse", lambda *_: None)
    monkeypatch.setattr(back, "greedy", lambda logits, *_: [0] * len(logits))
    found = outages._policy(lab, "best_effort", 1)
    assert found["equal_text"] < 1.0


def test_a_session_is_deterministic_and_its_times_add_up(lab: outages._Lab) -> None:
    prompt, member = lab.talk(0)[0], latency.MEMBER
    pace, path = Pace(vision=0.5), Path(rate=1e6, rtt=0.04)
    one = play(lab.family, member, prompt, pace=pace, path=path)
    assert one.seconds == play(lab.family, member, prompt, pace=pace, path=path).seconds
    assert tuple(one.tokens) == prompt.wanted
    assert one.first == pytest.approx(0.5 + 0.008 + len(prompt.ids) * 0.0002)
    assert one.up > 4 * 256 * len(prompt.ids)
    assert one.link_seconds <= one.seconds
    slow = play(lab.family, member, prompt, pace=pace, path=Path(rate=1e5, rtt=0.04))
    assert slow.seconds > one.seconds + 0.5 * one.up / 1e5
    assert slow.first == one.first
    ids = play(lab.family, member, lab.talk(0)[2], manner=Manner(transport="ids"), path=path)
    assert tuple(ids.tokens) == lab.talk(0)[2].wanted
    assert ids.up < 4000


def test_messages_have_the_sizes_that_the_formula_says() -> None:
    found = sizes.run()
    big = next(r for r in found["rows"] if r["model"][:3] == "7 B" and (r["tokens"], r["dtype"]) == (4, "bfloat16"))
    assert big["payload"] == 4 * 7168
    assert big["around"] < 128
    assert [big["ms"][k] for k in ("500000", "1e+06", "2e+06")] == pytest.approx([57.6, 28.8, 14.4], rel=0.01)
    assert found["break_even"][0]["rate"] == pytest.approx(2.31e6, rel=0.01)


def test_the_command(capsys: pytest.CaptureFixture[str], tmp_path: Any) -> None:
    split.main(parts=["bytes"], json=True)
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert {"bytes", "run"} <= set(found)
    with pytest.raises(UsageError, match="part 'latencies' is not measured; did you mean 'latency'"):
        split.main(parts=["latencies"])
    with pytest.raises(UnknownModelError, match="there is no family"):
        split.main(parts=["outages"], family=tmp_path)
