"""The command line: instant help, errors in one line, exit codes."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from aiflow.cli import app

AIFLOW = str(Path(sys.executable).parent / "aiflow")
ROW = re.compile(r"^  (\w[\w-]+)  ", re.M)


def aiflow(*args, timeout=60):
    return subprocess.run([AIFLOW, *args], text=True, capture_output=True, timeout=timeout, check=False)


def shown(*args):
    """The help of a command, without a process."""
    done = CliRunner().invoke(app, [*args, "--help"], prog_name="aiflow")
    assert done.exit_code == 0, done.output
    return done.stdout


def commands():
    found = ROW.findall(shown())
    groups = {"demo", "familial", "bench", "train"}
    nested = [(g, c) for g in groups for c in ROW.findall(shown(g))]
    return [(c,) for c in found if c not in groups] + sorted(nested)


def test_every_command_has_help():
    names = commands()
    assert {
        ("demo", "motion"),
        ("run",),
        ("graph",),
        ("bench", "nano"),
        ("bench", "mt-bench"),
        ("train", "nano"),
    } <= set(names)
    for name in names:
        assert f"Usage: aiflow {' '.join(name)} " in shown(*name)
    assert ROW.findall(aiflow("--help").stdout) == ROW.findall(shown())  # as a process does


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["run", " "], "the question is empty"),
        (["run", "hi", "--graph", "nowhere.py:graph"], "is not 'home' and not FILE.py:NAME"),
        (["run", "hi", "--topology", "nowhere.yaml"], "nowhere.yaml"),
        (["run", "hi", "--image", "nowhere.png"], "'nowhere.png' does not exist"),
        (["run", "hi", "--image", __file__], "not an image"),
        (["bench", "mt-bench", "--data", "/nowhere"], "/nowhere"),
        (["train", "nano", "--only", "mth"], "'math'"),
        (["bench", "nano", "--merge", "sinthesis"], "did you mean 'synthesis'?"),
        (["bench", "overhead", "--devices", "7"], "devices=7"),
    ],
)
def test_user_errors_are_one_line_and_exit_2(args, words):
    done = aiflow(*args)
    assert done.returncode == 2, done.stderr
    assert words in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr


def test_unknown_flags_and_commands_exit_2():
    for args in (
        ["run", "hi", "--grap", "x"],
        ["benhc"],
        ["bench", "nano", "--limit", "x"],
        ["bench", "load", "--in-flight", "0"],
    ):
        assert aiflow(*args).returncode == 2


def test_heavy_libraries_stay_out_of_the_start():
    heavy = ("torch", "ray", "transformers", "langgraph")
    code = f"import sys, aiflow, aiflow.cli; print([m for m in {heavy} if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], text=True, capture_output=True, check=True).stdout == "[]\n"


def test_start_ends_with_one_json_line():
    done = aiflow("bench", "start", "--repeats", "1", "--json")
    result = json.loads(done.stdout.splitlines()[-1])
    assert result["import_s"]["median"] > 0
