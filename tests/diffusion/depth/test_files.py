"""NYU-V2 and KITTI folders, written by the tests themselves."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from aiflow.diffusion.depth.files import find_pairs, read_depth, read_list, read_mat, samples
from aiflow.errors import DataError, InputError


def write(path: Path, array: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)
    return path


@pytest.fixture
def nyu(tmp_path: Path) -> Path:
    write(tmp_path / "kitchen" / "rgb_00001.jpg", np.full((480, 640, 3), 128, np.uint8))
    write(tmp_path / "kitchen" / "sync_depth_00001.png", np.full((480, 640), 2500, np.uint16))
    (tmp_path / "list.txt").write_text("/kitchen/rgb_00001.jpg /kitchen/sync_depth_00001.png 518.8579\n")
    return tmp_path


def test_nyu_from_a_list(nyu: Path) -> None:
    (sample,) = samples(read_list(nyu / "list.txt", nyu), "nyu")
    assert sample.depth_HW == pytest.approx(2.5)
    assert (sample.image_HW3.shape, sample.image_HW3.dtype) == ((480, 640, 3), np.uint8)
    assert sample.focal == pytest.approx(518.8579)


def test_nyu_without_a_list(nyu: Path) -> None:
    (pair,) = find_pairs(nyu)
    assert pair.depth.name == "sync_depth_00001.png"
    with pytest.raises(DataError, match="no pairs"):
        find_pairs(nyu, image="picture_*")


def test_kitti_is_cropped(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    raw = rng.integers(0, 80 * 256, (375, 1242)).astype(np.uint16)
    write(tmp_path / "raw" / "a.png", np.zeros((375, 1242, 3), np.uint8))
    write(tmp_path / "gt" / "a.png", raw)
    (tmp_path / "list.txt").write_text("a.png a.png 721.5377\nb.png None 721.5377\n")
    pairs = read_list(tmp_path / "list.txt", tmp_path / "raw", tmp_path / "gt")
    (sample,) = samples(pairs, "kitti")
    assert sample.depth_HW.shape == (352, 1216)
    assert sample.image_HW3.shape == (352, 1216, 3)
    assert np.array_equal(sample.depth_HW, raw[23:, 13:1229].astype(np.float32) / 256)
    (whole,) = samples(pairs, "kitti", crop=False)
    assert whole.depth_HW.shape == (375, 1242)


def test_numpy_depth_is_metres(tmp_path: Path) -> None:
    np.save(tmp_path / "d.npy", np.full((4, 5), 3.5))
    assert read_depth(tmp_path / "d.npy", "kitti") == pytest.approx(3.5)


def test_files_that_cannot_be_used(nyu: Path, tmp_path: Path) -> None:
    flat = write(tmp_path / "flat.png", np.zeros((480, 640), np.uint8))
    small = write(tmp_path / "small.png", np.zeros((10, 10), np.uint16))
    (tmp_path / "torn.png").write_bytes(flat.read_bytes()[:30])
    np.save(tmp_path / "nan.npy", np.full((4, 5), np.nan))
    np.save(tmp_path / "cube.npy", np.ones((4, 5, 6)))
    for name in ("flat.png", "torn.png", "nan.npy", "cube.npy", "missing.png"):
        with pytest.raises(DataError, match=name.split(".")[0]):
            read_depth(tmp_path / name, "nyu")
    (tmp_path / "bad.txt").write_text(f"kitchen/rgb_00001.jpg {small.relative_to(tmp_path)} 500\n")
    with pytest.raises(DataError, match="no pair"):
        list(samples(read_list(tmp_path / "bad.txt", nyu), "nyu"))
    pairs = read_list(nyu / "list.txt", nyu)
    with pytest.raises(InputError, match="cityscapes"):
        list(samples(pairs, "cityscapes"))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "text",
    ["", "one\n", "a b c d\n", "missing.jpg missing.png 5\n", "kitchen/rgb_00001.jpg kitchen/sync_depth_00001.png x\n"],
)
def test_lists_that_cannot_be_used(nyu: Path, text: str) -> None:
    (nyu / "bad.txt").write_text(text)
    with pytest.raises(DataError, match=r"bad\.txt"):
        read_list(nyu / "bad.txt", nyu)
    with pytest.raises(DataError):
        read_list(nyu / "none.txt", nyu)


def test_mat_says_what_it_needs(tmp_path: Path) -> None:
    (tmp_path / "nyu.mat").write_bytes(b"no matlab")
    with pytest.raises(DataError, match=r"h5py|labelled"):
        list(read_mat(tmp_path / "nyu.mat"))
