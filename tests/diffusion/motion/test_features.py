"""The 262 features: processing into one frame, velocities, contacts, mirror and exchange, forward kinematics."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aiflow.diffusion.motion import data, features, scene
from aiflow.diffusion.motion import skeleton as sk
from aiflow.errors import InputError


@pytest.fixture(scope="module")
def clips() -> list[scene.Clip]:
    return data.scenes("validation", 12)


def test_columns(clips: list[scene.Clip]) -> None:
    u = clips[0].u_PT
    j = features.joints(u)
    assert u.shape == (2, clips[0].frames, 262)
    assert u.dtype == np.float32
    velocity = u[..., features.VELOCITIES].reshape(*u.shape[:-1], 22, 3)
    assert np.allclose(velocity[:, :-1], np.diff(j, axis=1), atol=1e-6)
    assert set(np.unique(u[..., features.CONTACTS])) <= {0.0, 1.0}


def test_bones_and_kinematics_are_exact(clips: list[scene.Clip]) -> None:
    for clip in clips:
        j = features.joints(clip.u_PT)
        lengths = np.linalg.norm(j[:, :, 1:] - j[:, :, list(sk.PARENTS[1:])], axis=-1)
        assert np.abs(lengths - sk.BONES_J[1:]).max() < 1e-6
        root, spin, local = features.skeleton_motion(clip.u_PT[1])
        assert np.abs(sk.forward(root, spin, local) - j[1]).max() < 2e-6


def test_one_frame_of_reference(clips: list[scene.Clip]) -> None:
    for clip in clips:
        first = features.joints(clip.u_PT)[0, 0]
        assert np.allclose(first[0, [0, 2]], 0, atol=1e-6)
        assert abs(sk.facing(first)) < 1e-6


@settings(max_examples=15, deadline=None)
@given(yaw=st.floats(-3, 3), x=st.floats(-5, 5), z=st.floats(-5, 5))
def test_processing_forgets_where_a_scene_was(yaw: float, x: float, z: float) -> None:
    u = data.scenes("validation", 1)[0].u_PT
    there = features.moved(u, yaw, np.array([x, 0.3, z]))
    assert np.abs(features.canonical(there, floor=True) - features.canonical(u, floor=True)).max() < 1e-5


def test_mirror_and_exchange_undo_themselves(clips: list[scene.Clip]) -> None:
    u = clips[3].u_PT
    assert np.allclose(features.mirrored(features.mirrored(u)), u)
    assert np.abs(features.swapped(features.swapped(u)) - u).max() < 1e-5
    mirrored = features.mirrored(u)
    root, spin, local = features.skeleton_motion(mirrored[0])
    assert np.abs(sk.forward(root, spin, local) - features.joints(mirrored)[0]).max() < 2e-6


def test_mirrored_words() -> None:
    assert scene.mirrored_words("Turns counterclockwise, left foot.") == "Turns clockwise, right foot."
    assert scene.swapped_words("person one pushes person two") == "person two pushes person one"


def test_six_numbers_make_a_rotation() -> None:
    rng = np.random.default_rng(0)
    rotation = sk.turn(rng.uniform(-3, 3, 5)) @ sk.tilt(rng.uniform(-1, 1, 5))
    assert np.allclose(sk.from_6d(sk.to_6d(rotation)), rotation)
    noisy = sk.from_6d(sk.to_6d(rotation) + 0.1 * rng.standard_normal((5, 6)))
    assert np.allclose(noisy @ np.swapaxes(noisy, -1, -2), np.eye(3))
    assert np.allclose(np.linalg.det(noisy), 1)


def test_shapes_are_checked() -> None:
    with pytest.raises(InputError, match="262"):
        features.canonical(np.zeros((2, 10, 12), dtype=np.float32))
