"""Clips of one's own, read from files that the test writes."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from aiflow.diffusion.video.data import MODALITIES, generate
from aiflow.diffusion.video.data_folder import read_clips
from aiflow.diffusion.video.pipeline import images
from aiflow.errors import DataError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    clips = generate("test", 2)
    for name in MODALITIES:
        (tmp_path / name).mkdir()
        np.savez(tmp_path / name / "b.npz", clip=clips.views[name][1])
        (tmp_path / name / "a").mkdir()
        for t, image in enumerate(images(clips.views[name][0])):
            image.save(tmp_path / name / "a" / f"{t:03}.png")
    (tmp_path / "captions.json").write_text(json.dumps({"a": clips.captions[0]}))
    return tmp_path


def test_frames_and_archives_are_read(folder: Path) -> None:
    clips = generate("test", 2)
    views, captions = read_clips(folder)
    assert captions == [clips.captions[0], ""]
    for name in MODALITIES:
        assert np.abs(views[name][0] - clips.views[name][0]).max() < 0.005  # eight bits
        assert np.array_equal(views[name][1], clips.views[name][1])


def test_longer_and_larger_clips_are_fitted(folder: Path) -> None:
    np.savez(folder / "depth" / "b.npz", clip=np.linspace(-1, 1, 24 * 32 * 32).reshape(24, 32, 32))
    views, _ = read_clips(folder)
    assert views["depth"].shape == (2, 8, 3, 16, 16)
    assert np.array_equal(views["depth"][1, :, 0], views["depth"][1, :, 2])


def test_what_cannot_be_read_is_named(folder: Path) -> None:
    with pytest.raises(DataError, match="nowhere"):
        read_clips(folder / "nowhere")
    with pytest.raises(DataError, match="9 are needed"):
        read_clips(folder, frames=9)
    (folder / "rgb" / "a" / "000.png").write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"000\.png"):
        read_clips(folder)


@pytest.mark.parametrize(
    ("clip", "said"),
    [(np.full((8, 16, 16), np.nan), "finite"), (np.ones((8, 2, 16, 16)), "2, 16"), (np.full((8, 4, 4), 3.0), "-1, 1")],
)
def test_bad_arrays(folder: Path, clip: np.ndarray, said: str) -> None:
    np.savez(folder / "edges" / "b.npz", clip=clip)
    with pytest.raises(DataError, match=said):
        read_clips(folder)


def test_a_missing_clip_or_modality_is_named(folder: Path) -> None:
    (folder / "segment" / "b.npz").unlink()
    with pytest.raises(DataError, match=r"segment lacks clip 'b'"):
        read_clips(folder)
    with pytest.raises(DataError, match="thermal"):
        read_clips(folder, modalities=("rgb", "thermal"))


def test_bad_captions_and_sizes(folder: Path) -> None:
    (folder / "captions.json").write_text("[1]")
    with pytest.raises(DataError, match=r"captions\.json"):
        read_clips(folder)
    (folder / "captions.json").unlink()
    Image.new("RGB", (4, 4)).save(folder / "rgb" / "a" / "001.png")
    with pytest.raises(DataError, match="differ in size"):
        read_clips(folder)
