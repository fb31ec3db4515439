"""The README is true: its Python blocks run and print what stands below them, its commands exist."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from aiflow.cli import app

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"^```python\n(.*?)^```\n(?:\s*^```text\n(.*?)^```$)?", README, re.M | re.S)


@pytest.mark.timeout(240)
@pytest.mark.parametrize(("code", "output"), BLOCKS, ids=[str(n) for n in range(len(BLOCKS))])
def test_python_blocks_run_and_print_what_the_readme_shows(code, output):
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, text=True, capture_output=True, timeout=200, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == output.strip()


def test_there_are_blocks():
    assert BLOCKS


def test_every_command_of_the_readme_exists():
    commands = set(re.findall(r"^(?:\$ )?aiflow ((?:bench |train )?[a-z][a-z-]*)", README, re.M))
    assert commands
    for command in commands:
        assert CliRunner().invoke(app, [*command.split(), "--help"]).exit_code == 0, command


def test_links_to_files_lead_somewhere():
    for target in re.findall(r"\]\((?!http)([^)#]+)", README):
        assert (ROOT / target).exists(), target
