"""The picture of a result: every map, unknown and sky pixels, a missing branch."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
from PIL import Image

from aiflow.diffusion.depth import picture

IMAGE = np.zeros((12, 16, 3), np.uint8)
RAMP = np.geomspace(1, 90, 12 * 16).reshape(12, 16)


def output(**changes: object) -> SimpleNamespace:
    depth = RAMP.copy()
    depth[0], depth[1] = np.inf, np.nan
    given = {"depth": depth, "near": RAMP, "far": RAMP, "mask": RAMP / 90, "anchors": [10.0], "used": ["near", "far"]}
    return SimpleNamespace(**given | changes)


def titles(figure: object) -> list[str]:
    return [ax.get_title() for ax in figure.axes if ax.get_title()]  # type: ignore[attr-defined]


def test_a_picture_with_truth_has_seven_panels(tmp_path: Path) -> None:
    path = picture.save(tmp_path / "sub" / "depth.png", IMAGE, output(), RAMP, title="a road")
    with Image.open(path) as image:
        assert image.width > 800
    found = titles(picture.draw(IMAGE, output(), RAMP))
    assert len(found) == 7
    assert "depth from near and far" in found
    assert len(titles(picture.draw(IMAGE, output()))) == 5


def test_a_missing_branch_is_said() -> None:
    figure = picture.draw(IMAGE, output(far=None, used=["near"]))
    assert "depth from near" in titles(figure)
    assert any("did not take part" in text.get_text() for ax in figure.axes for text in ax.texts)


def test_a_message_keeps_sky_and_unknown_apart() -> None:
    sky, valid = np.zeros((12, 16), bool), np.ones((12, 16), bool)
    sky[0], valid[:2] = True, False
    message = output(depth=np.where(valid, RAMP, 0), sky=sky, valid=valid)
    assert np.isinf(picture._depth(message)[0]).all()
    assert np.isnan(picture._depth(message)[1]).all()
    picture.draw(IMAGE, message)


def test_nothing_known() -> None:
    picture.draw(IMAGE, output(depth=np.full((12, 16), np.nan)), RAMP)
