"""The main job as a user starts it, in processes of its own; the measurements of the system on the tests' cluster."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from aiflow.cli import main

AIFLOW = str(Path(sys.executable).parent / "aiflow")


@pytest.fixture
def bench(runtime, monkeypatch, capsys, tmp_path):
    """Runs a ``bench`` command here, on the cluster that is there already, and returns its JSON line."""
    assert runtime.nodes()

    def run(*args):
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", ["aiflow", "bench", *args, "--json"])
        with pytest.raises(SystemExit) as done:
            main()
        said = capsys.readouterr()
        assert done.value.code == 0, said.err
        return json.loads(said.out.splitlines()[-1])

    return run


@pytest.mark.timeout(300)
def test_the_demo_shows_that_the_collaboration_pays(tmp_path):
    command = [AIFLOW, "demo", "--limit", "16", "--report", str(tmp_path / "demo.html"), "--json"]
    done = subprocess.run(command, cwd=tmp_path, text=True, capture_output=True, timeout=280, check=False)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    assert len(result["devices"]) == 5
    assert result["merged"] > result["best_single"] + 15
    assert result["merged"] > result["self_moa"]
    for figure in ("merged", "best_single", "self_moa", "oracle"):
        lo, hi = result[f"{figure}_ci"]
        assert 0 <= lo <= result[figure] <= hi <= 100
    page = (tmp_path / "demo.html").read_text()
    assert "<table" in page
    assert "http://" not in page.replace("http://www.w3.org", "")


@pytest.mark.timeout(300)
def test_load_loses_and_mixes_up_nothing(bench):
    result = bench("load", "--queries", "150")
    for way in ("agent", "graph"):
        assert result[way]["wrong"] == 0
        assert result[way]["answered"] == 150


@pytest.mark.timeout(300)
def test_bytes_in_traces_are_those_on_the_links(bench):
    result = bench("bytes")
    assert result["exact"]
    assert all(row["traced"] > 0 for row in result["links"].values())


@pytest.mark.timeout(300)
def test_killed_agents_never_make_a_question_hang(bench):
    result = bench("faults", "--repeats", "6")
    ended = {way for row in result["victims"].values() for way in row["ended"]}
    assert "hung" not in ended


@pytest.mark.timeout(300)
def test_overhead_is_measured_beside_a_plain_loop(bench):
    result = bench("overhead", "--repeats", "2", "--devices", "5")
    case = result["five"]
    assert case["graph"]["median_s"] > case["critical_s"]
    assert case["plain"]["median_s"] > case["critical_s"]
