"""Real pictures through every kind of model: encode, link, decode, forward pass. Skipped where there are none."""

import os
from pathlib import Path

import pytest

from aiflow.bench.tofc import tiny
from aiflow.bench.tofc.real import Pair, pictures, real
from aiflow.errors import DataError

DATA = Path(os.environ.get("AIFLOW_DATA") or Path(__file__).resolve().parents[4] / "shared" / "data") / "vqa"
ODD = ((1, 1), (3, 211), (337, 41), (97, 131), (640, 427))
"""Heights and widths of drawn pictures."""


@pytest.mark.parametrize("kind", tiny.KINDS)
def test_drawn_pictures_of_odd_sizes_pass(kind):
    pair = Pair(kind)
    for size in ODD:
        found = pair.pass_on(tiny.picture(*size))
        assert 7 < found.nbytes < 400
        assert found.tokens <= found.places
        assert found.error < 0.9  # 1 is what the mean feature would give


@pytest.mark.skipif(not DATA.is_dir(), reason=f"there are no pictures in {DATA}")
def test_real_pictures_pass():
    found = real(DATA, limit=8)
    assert found["images"] == 8
    for kind in tiny.KINDS:
        assert found[kind]["images"] == 8, found[kind]["first_failures"]
        assert found[kind]["bytes_out_range"][1] < found["bytes_in"] / 50
        assert found[kind]["error"] < 0.9


def test_a_folder_without_pictures_is_told(tmp_path):
    with pytest.raises(DataError, match=r"\.jpg"):
        pictures(tmp_path)
