"""``aiflow plan``: the table, the JSON, placement, and what cannot be planned."""

import json
import sys
from pathlib import Path

import pytest

from aiflow import cli
from aiflow.cluster.profiles import Profiles

NODES = """
nodes: {phone: {tier: device, memory: 4 GB}, hub: cloud}
links:
  - {between: [phone, hub], rate: 1 MB/s, rtt: 20 ms}
"""
SPEEDS = {"prefill": 1000, "decode": 0.02, "encode": 0.1, "capacity": 1.0}


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    """A topology and profiles for it, as arguments."""
    known = Profiles(
        agents=[
            {"agent": "small", "node": "phone", "flops": 1e9, "memory": 2e9, **SPEEDS},
            {"agent": "big", "node": "hub", "flops": 1e11, "memory": 9e9, **SPEEDS},
        ]
    )
    known.save(tmp_path / "p.json")
    (tmp_path / "t.yaml").write_text(NODES)
    return [str(tmp_path / "t.yaml"), "--profiles", str(tmp_path / "p.json")]


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["aiflow", "plan", *arguments])
    return cli._main()


def test_the_table(monkeypatch: pytest.MonkeyPatch, files: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(monkeypatch, *files, "--deadline", "5") == 0
    shown = capsys.readouterr().out
    assert "> server_only" in shown
    assert "quality" in shown
    assert "of 1 ways" not in shown
    assert shown.splitlines()[-1].startswith("server_only: the best, then the soonest")


def test_json_and_wishes(
    monkeypatch: pytest.MonkeyPatch, files: list[str], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    image = tmp_path / "a.png"
    image.write_bytes(bytes(50_000))
    assert run(monkeypatch, *files, "--quality", "fast", "--image", str(image), "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["chosen"]["mode"] == "on_device"
    assert {o["mode"] for o in found["options"]} == {"on_device", "server_only"}
    assert next(o for o in found["options"] if o["mode"] == "server_only")["bytes"]["phone-hub"] > 50_000


def test_placement(monkeypatch: pytest.MonkeyPatch, files: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(monkeypatch, *files, "--place", "--json") == 0
    assert {p["agent"]: p["node"] for p in json.loads(capsys.readouterr().out)} == {"small": "phone", "big": "hub"}


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (["--quality", "good"], "quality='good'"),
        (["--prompt-tokens", "0"], "prompt_tokens=0"),
        (["--image", "none.png"], "'none.png' does not exist"),
        (["--device", "none"], "'none' has no profile"),
        (["--measure", "phone"], "no NODE=MODEL"),
    ],
)
def test_what_cannot_be_planned(
    monkeypatch: pytest.MonkeyPatch, files: list[str], capsys: pytest.CaptureFixture[str], more: list[str], says: str
) -> None:
    assert run(monkeypatch, *files, *more) == 2
    assert says in capsys.readouterr().err
