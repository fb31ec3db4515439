"""Model strings of parties: what they name, what is refused, and that a fresh process can load each."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import tiny

from aiflow.agents import backends
from aiflow.agents.diffusion import parties
from aiflow.errors import InputError, UnknownModelError, WeightsError

CODE = """
import sys
from aiflow.agents.diffusion.parties import load
for model in sys.argv[1:]:
    found = load(model)
    print(found.system, found.role, found.model, *found.plan(3))
"""


@pytest.mark.timeout(300)
def test_a_fresh_process_loads_each(tmp_path: Path) -> None:
    models = []
    for make in (tiny.motion, tiny.depth, tiny.video):
        folder = make(tmp_path / make.__name__)
        models += [f"{folder}#{role}" for role in parties.ROLES[make.__name__][:3]]
    run = [sys.executable, "-W", "ignore", "-c", CODE, *models]
    done = subprocess.run(run, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, done.stderr
    lines = [line.split(maxsplit=3) for line in done.stdout.splitlines()]
    assert [f"{system}#{role}" for system, role, *_ in lines] == [Path(model).name for model in models]
    assert all(len(model) == 16 for _, _, model, *_ in lines)
    assert "[4, 16, 4, 4]" in lines[5][-1]


@pytest.mark.parametrize(
    ("model", "kind"),
    [
        ("aiflow:motion#ins", "diffusion"),
        ("aiflow:video#edges", "diffusion"),
        ("aiflow:nano/math", "transformers"),
        ("Qwen/Qwen2.5-0.5B-Instruct", "transformers"),
    ],
)
def test_kinds(model: str, kind: str) -> None:
    assert backends.kind(model) == kind


def test_a_folder_with_a_pipeline_is_one(tmp_path: Path) -> None:
    assert backends.kind(f"{tmp_path}#ins") == "transformers"
    (tmp_path / "model_index.json").write_text('{"_class_name": "NearFarDepthPipeline"}')
    assert backends.kind(f"{tmp_path}#near") == "diffusion"
    assert parties.split(f"{tmp_path}#near")[1:] == ("depth", "near")
    (tmp_path / "model_index.json").write_text("{")
    with pytest.raises(WeightsError, match="cannot be read"):
        backends.check(f"{tmp_path}#near", {})


@pytest.mark.parametrize(
    ("model", "options", "error", "said"),
    [
        ("aiflow:motion", {}, UnknownModelError, "must say which part"),
        ("aiflow:depth#middle", {}, UnknownModelError, "use one of 'encoder'"),
        ("aiflow:sound#ins", {}, UnknownModelError, "no known form"),
        ("aiflow:motion#ins", {"speed": 2}, InputError, "no option 'speed'"),
    ],
)
def test_what_is_refused(model: str, options: Any, error: Any, said: str) -> None:
    with pytest.raises(error, match=said):
        backends.check(model, options)


def test_options_of_a_party(tmp_path: Path) -> None:
    model = f"{tiny.depth(tmp_path)}#far"
    for options, said in (
        ({"device": "abacus"}, "device='abacus'"),
        ({"threads": 0}, "threads=0"),
        ({"pace": "slow"}, "pace='slow'"),
    ):
        with pytest.raises(InputError, match=said):
            backends.create(model, **options)  # type: ignore[arg-type]
