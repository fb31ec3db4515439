"""The InterHuman folder, read from files that the test writes in its form."""

from pathlib import Path

import numpy as np
import pytest

from aiflow.diffusion.motion import data, features, interhuman
from aiflow.diffusion.motion.interhuman import AXES, InterHuman
from aiflow.errors import DataError, InputError

FRAMES = 40
CAPTIONS = ("the two shake right hands.", "one man greets the other, turning clockwise", "they greet")


def write(root: Path, names: tuple[str, ...] = ("1", "2", "3")) -> np.ndarray:
    """Three recordings of one procedural pair, z up, somewhere in the room. Returns its features."""
    pair = data.pairs(1)[0].u_PT
    pair = np.concatenate([pair, np.repeat(pair[:, -1:], FRAMES - pair.shape[1], axis=1)], axis=1)
    somewhere = features.moved(pair, 0.7, np.array([3.0, 0.4, -1.0]))
    for folder in ("annots", "motions_processed/person1", "motions_processed/person2"):
        (root / folder).mkdir(parents=True)
    for name in names:
        for who in (0, 1):
            j = features.joints(somewhere[who]) @ AXES  # the inverse of the fix
            raw = np.zeros((FRAMES, 492), dtype=np.float32)
            raw[:, :66] = j.reshape(FRAMES, 66)
            raw[:, 186:312] = somewhere[who, :, features.ROTATIONS]
            np.save(root / f"motions_processed/person{who + 1}/{name}.npy", raw)
        (root / f"annots/{name}.txt").write_text("\n".join(CAPTIONS) + "\n")
    for split, listed in (("train", names[:2]), ("val", names[2:]), ("test", names[2:])):
        (root / f"{split}.txt").write_text("".join(f"{name}\n" for name in listed))
    (root / "ignore_list.txt").write_text("2\n")
    return pair


def test_the_same_arrays_as_the_procedural_data(tmp_path: Path) -> None:
    pair = write(tmp_path)
    found = InterHuman(tmp_path)
    assert len(found) == 1, "the second is on the list of what to ignore"
    recording = found[0]
    assert recording.captions == CAPTIONS
    assert recording.u_PT.shape == (2, FRAMES - 1, 262)
    floor = np.abs(features.joints(recording.u_PT)[..., 1].min())
    assert floor < 1e-5
    mine, theirs = features.joints(recording.u_PT), features.joints(pair[:, :-1])
    assert np.abs(mine[..., [0, 2]] - theirs[..., [0, 2]]).max() < 1e-4
    assert np.allclose(recording.u_PT[..., features.ROTATIONS], pair[:, :-1, features.ROTATIONS], atol=1e-6)
    assert np.allclose(recording.u_PT[:, :15, features.VELOCITIES], pair[:, :15, features.VELOCITIES], atol=1e-4)


def test_windows_and_variation(tmp_path: Path) -> None:
    write(tmp_path)
    recording = InterHuman(tmp_path)[0]
    seen = set()
    for seed in range(12):
        clip = recording.clip(np.random.default_rng(seed), longest=20, vary=True)
        assert clip.u_PT.shape == (2, 20, 262)
        assert abs(clip.u_PT[0, 0, 0]) < 1e-6
        seen.add(clip.caption)
    assert len(seen) > 3, "all captions, and mirrored ones"
    assert "the two shake left hands." in seen or "one man greets the other, turning counterclockwise" in seen


def test_every_third_frame(tmp_path: Path) -> None:
    write(tmp_path)
    with pytest.raises(DataError, match="14 frames at stride 3"):
        InterHuman(tmp_path, stride=3)[0]
    assert InterHuman(tmp_path, stride=2)[0].u_PT.shape[1] == 19


def test_what_is_missing_or_damaged(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"train\.txt"):
        InterHuman(tmp_path / "nowhere")
    with pytest.raises(InputError, match="dev"):
        InterHuman(tmp_path, "dev")
    write(tmp_path)
    data_ = InterHuman(tmp_path)
    file = tmp_path / "motions_processed/person2/1.npy"
    good = np.load(file)
    for bad, said in (
        (good[:30], "30"),
        (good[:, :100], "expected"),
        (good.astype(np.int64), "expected"),
        (np.full_like(good, np.nan), "NaN"),
    ):
        np.save(file, bad)
        with pytest.raises(DataError, match=said):
            data_[0]
    file.write_bytes(b"no array")
    with pytest.raises(DataError, match="cannot be read"):
        data_[0]
    np.save(file, good)
    (tmp_path / "annots/1.txt").write_text("\n")
    with pytest.raises(DataError, match="caption"):
        data_[0]
    (tmp_path / "annots/1.txt").unlink()
    with pytest.raises(DataError, match="cannot be read"):
        data_[0]
    assert interhuman.FPS == 30
