"""The picture: right sizes, right pixels, conditions framed."""

from pathlib import Path

import numpy as np
from PIL import Image

from aiflow.diffusion.video.data import generate
from aiflow.diffusion.video.picture import gif, sheet, strip


def test_a_gif_of_four_modalities(tmp_path: Path) -> None:
    clips = generate("test", 2)
    rows = [{n: v[i] for n, v in clips.views.items()} for i in range(2)]
    del rows[1]["edges"]
    roles = [{"rgb": "generate", "depth": "condition", "segment": "generate", "edges": "generate"}] * 2
    pages = sheet(rows, clips.captions, roles, zoom=4)
    assert len(pages) == 8
    page = np.asarray(pages[3])
    assert (page == (240, 170, 40)).all(-1).sum() > 100  # the frame around what was given
    assert (page == (70, 70, 70)).all(-1).any()
    path = gif(tmp_path / "pictures" / "clip.gif", pages)
    with Image.open(path) as image:
        assert image.n_frames == 8
        assert image.size == pages[0].size


def test_pixels_are_those_of_the_clip() -> None:
    clips = generate("test", 1)
    still = np.asarray(strip({n: v[0] for n, v in clips.views.items()}, zoom=2))
    assert still.shape == (4 * 32, 8 * 32, 3)
    rgb = ((clips.views["rgb"][0, 2].transpose(1, 2, 0) + 1) * 127.5).round().astype(np.uint8)
    assert np.array_equal(still[:32:2, 64:96:2], rgb)
