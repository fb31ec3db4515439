"""Every export of the small runs gives the recorded bytes. To record them anew: AIFLOW_GOLDEN=1 pytest this file.

Of an ``.eval`` what its entries unpack to is compared: the packed bytes depend on the zlib at hand.
"""

import os
import zipfile
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import pytest

from aiflow.bench.exports import FORMATS, load

GOLDEN = Path(__file__).parent / "golden"
CASES = (
    ("mt-bench", "fastchat"),
    ("pairwise", "fastchat"),
    ("alpaca", "alpaca_eval"),
    ("arena", "arena-hard-v0.1"),
    ("arena", "arena-hard-v2"),
    ("mt-bench", "lm-eval"),
    ("vqa", "lm-eval"),
    ("mt-bench", "inspect"),
    ("vqa", "inspect-json"),
)


@pytest.mark.parametrize(("run", "to"), CASES)
def test_an_export_gives_the_recorded_bytes(make: Callable[[str], Path], run: str, to: str) -> None:
    files = unpacked(FORMATS[to](load(make(run))))
    folder = GOLDEN / f"{run}-{to}"
    if os.environ.get("AIFLOW_GOLDEN"):
        for name, data in files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(data)
    assert {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()} == files


def test_the_same_run_gives_the_same_zip(make: Callable[[str], Path]) -> None:
    run = make("mt-bench")
    assert FORMATS["inspect"](load(run)) == FORMATS["inspect"](load(run))


def unpacked(files: dict[str, bytes]) -> dict[str, bytes]:
    """The files, the zips among them as folders."""
    found = {}
    for name, data in files.items():
        if not name.endswith(".eval"):
            found[name] = data
            continue
        with zipfile.ZipFile(BytesIO(data)) as file:
            found |= {f"{name}/{entry}": file.read(entry) for entry in file.namelist()}
    return found
