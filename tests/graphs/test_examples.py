"""The examples run, and print what they are to show."""

import runpy
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
PRINTED = {
    "device_server": ["selected: math code", "merged: 84, by hand and by program.", "revise  code  on laptop"],
    "own_graph": ["ai: Bonn", "ai: Berlin", "ai: The capital of Germany is Berlin."],
    "planner_tools": ["ask_math('What is 12 * 7?')", "tool: 84", "tool: 77", "the program prints 77."],
}


@pytest.mark.parametrize("name", PRINTED)
def test_an_example(name, capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", [f"{name}.py"])
    runpy.run_path(str(EXAMPLES / f"{name}.py"), run_name="__main__")
    printed = capsys.readouterr().out
    for text in PRINTED[name]:
        assert text in printed
