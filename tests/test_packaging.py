"""Every folder with code belongs to the package map, and every module stays readable."""

import ast
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ROOMS = ["agents", "bench", "cluster", "collaboration", "examples", "graphs", "nano", "serve"]
MODULES = sorted(p for room in [*ROOMS, "src"] for p in (ROOT / room).rglob("*.py"))


def test_every_room_is_importable_under_its_name():
    for room in ROOMS:
        spec = find_spec(f"aiflow.{room}")
        assert spec is not None
        assert Path(spec.origin).resolve() == ROOT / room / "__init__.py"


def test_every_nested_folder_with_code_is_a_package():
    for path in MODULES:
        if path.parent != ROOT / "src":
            assert (path.parent / "__init__.py").exists(), f"{path.parent} needs an __init__.py to ship"


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(ROOT)))
def test_modules_say_what_they_do_and_stay_short(path):
    source = path.read_text()
    assert ast.get_docstring(ast.parse(source)), "a file opens with what it does"
    assert len(source.splitlines()) <= 400
