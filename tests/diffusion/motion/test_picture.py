"""GIFs: size, frames, bad input."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from aiflow.diffusion.motion import data, features, picture
from aiflow.errors import InputError


def test_two_panels(tmp_path: Path) -> None:
    clip = data.pairs(1)[0]
    j = features.joints(clip.u_PT)[:, :6]
    path = picture.draw(
        tmp_path / "a.gif", {"INS": j, "INS -> REC": j}, caption=clip.caption, kinds=["interaction"], starts=[0]
    )
    with Image.open(path) as image:
        assert image.n_frames >= 5
        assert image.size[0] > 1.8 * image.size[1]


@pytest.mark.parametrize("bad", [np.zeros((2, 4, 21, 3)), np.full((2, 4, 22, 3), np.nan), np.zeros((1, 4, 22, 3))])
def test_what_cannot_be_drawn(bad: np.ndarray, tmp_path: Path) -> None:
    with pytest.raises(InputError):
        picture.draw(tmp_path / "a.gif", {"x": bad}, caption="c", kinds=["solo"], starts=[0])
