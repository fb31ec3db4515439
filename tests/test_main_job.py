"""The main job and the measurements of the system, as a user starts them, each in processes of its own."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

AIFLOW = str(Path(sys.executable).parent / "aiflow")


def aiflow(*args, cwd):
    done = subprocess.run([AIFLOW, *args, "--json"], cwd=cwd, text=True, capture_output=True, timeout=280, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.timeout(300)
def test_the_demo_shows_that_the_collaboration_pays(tmp_path):
    result = aiflow("demo", "--limit", "16", "--report", str(tmp_path / "demo.html"), cwd=tmp_path)
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
def test_load_loses_and_mixes_up_nothing(tmp_path):
    result = aiflow("bench", "load", "--queries", "150", cwd=tmp_path)
    for way in ("agent", "graph"):
        assert result[way]["wrong"] == 0
        assert result[way]["answered"] == 150


@pytest.mark.timeout(300)
def test_bytes_in_traces_are_those_on_the_links(tmp_path):
    result = aiflow("bench", "bytes", cwd=tmp_path)
    assert result["exact"]
    assert all(row["traced"] > 0 for row in result["links"].values())


@pytest.mark.timeout(300)
def test_killed_agents_never_make_a_question_hang(tmp_path):
    result = aiflow("bench", "faults", "--repeats", "6", cwd=tmp_path)
    ended = {way for row in result["victims"].values() for way in row["ended"]}
    assert "hung" not in ended


@pytest.mark.timeout(300)
def test_overhead_is_measured_beside_a_plain_loop(tmp_path):
    result = aiflow("bench", "overhead", "--repeats", "2", "--devices", "5", cwd=tmp_path)
    case = result["five"]
    assert case["graph"]["median_s"] > case["critical_s"]
    assert case["plain"]["median_s"] > case["critical_s"]
