"""The procedural data: exact contacts and timing, captions of known words, interleaved sequences, time cues."""

import numpy as np
import pytest
import torch

from aiflow.diffusion.motion import actions, data, features, interleave, metrics, scene, together
from aiflow.diffusion.motion.skeleton import facing
from aiflow.diffusion.words import UNKNOWN, tokens, word_tokenizer
from aiflow.errors import InputError


@pytest.fixture(scope="module")
def recorded() -> interleave.Recordings:
    return interleave.recordings(data.solos(200), data.pairs(40))


def test_the_same_index_is_the_same_clip() -> None:
    again = data.scenes("test", 3)
    for one, two in zip(data.scenes("test", 5), again, strict=False):
        assert one.caption == two.caption
        assert np.array_equal(one.u_PT, two.u_PT)
    assert data.scenes("validation", 1)[0].caption != again[0].caption or not np.array_equal(
        data.scenes("validation", 1)[0].u_PT, again[0].u_PT
    )


def test_contacts_are_exact_and_in_time() -> None:
    clips = data.scenes("test", 80)
    found = metrics.checks(
        [features.joints(c.u_PT) for c in clips], [c.touches for c in clips], [c.starts for c in clips]
    )
    assert np.nanmax(found.gap_N) < 0.06
    assert np.nanmean(found.gap_N) < 0.005
    assert np.nanmax(found.timing_N) <= 2
    assert np.nanmax(found.bone_N) < 1e-6
    assert found.inside_N.max() == 0


@pytest.mark.parametrize("words", list(together.TOGETHER))
def test_every_interaction_ends_as_it_began(words: str) -> None:
    places = scene.start_places(np.random.default_rng(1), near=False)
    act, after = together.together(words, places, 20, np.random.default_rng(2))
    for track, place in zip(act.tracks, after, strict=True):
        assert np.allclose(track.root_F3[-1, [0, 2]], [place.x, place.z], atol=1e-6)
        assert abs(track.pitch_F[-1]) < 1e-6
        hands = actions.in_world(track, np.broadcast_to(actions.REST, (20, 2, 3)))
        assert np.abs(track.hands_F23[-1] - hands[-1]).max() < 0.02
    assert all(touch.start >= actions.APPROACH and touch.stop <= 20 for touch in act.touches)


def test_people_who_meet_face_each_other() -> None:
    for clip in data.pairs(20):
        j = features.joints(clip.u_PT)[:, actions.APPROACH]
        towards = j[1, 0] - j[0, 0]
        for person, sign in ((0, 1), (1, -1)):
            yaw = float(facing(j[person][None])[0])
            ahead = np.array([np.sin(yaw), 0, np.cos(yaw)]) @ (sign * towards) / np.linalg.norm(towards)
            assert ahead > 0.9


def test_words_are_known() -> None:
    tokenizer = word_tokenizer(scene.vocabulary(), data.WORDS)
    ids, _ = tokens(tokenizer, [clip.caption for clip in data.scenes("test", 100)])
    assert tokenizer.convert_tokens_to_ids(UNKNOWN) not in ids


def test_interleaved_sequences_join(recorded: interleave.Recordings) -> None:
    rng = np.random.default_rng(5)
    for layout in ("sis", "si", "is", "isi", "i"):
        for _ in range(4):
            clip = interleave.interleaved(layout, recorded, rng)
            assert clip.frames <= data.FRAMES
            assert [kind[0] for kind in clip.kinds] == list(layout)
            j = features.joints(clip.u_PT)
            steps = np.linalg.norm(np.diff(j, axis=1), axis=-1)
            for start in clip.starts[1:]:
                assert steps[:, start - 1].max() < 0.25, "a jump between segments"
            assert metrics.contact_gap(j, clip.touches) < 0.05 or not clip.touches
            root, spin, local = features.skeleton_motion(clip.u_PT[0])
            assert np.isfinite(root).all()
            assert np.isfinite(spin).all()
            assert np.isfinite(local).all()


def test_variation_keeps_contacts(recorded: interleave.Recordings) -> None:
    rng = np.random.default_rng(0)
    for pair in recorded.pairs[:15]:
        clip = interleave.varied(pair, rng)
        if clip.touches:
            assert metrics.contact_gap(features.joints(clip.u_PT), clip.touches) < 0.06


def test_interleaving_needs_both() -> None:
    with pytest.raises(InputError, match="of two"):
        interleave.recordings(data.solos(3), [])
    with pytest.raises(InputError, match="of two"):
        interleave.recordings(data.solos(3), data.solos(3))


def test_one_person_of_a_scene() -> None:
    solo = data.pack(data.placed(data.solos(20), data.pairs(5), 10))
    there = solo.mask_N2T.any(dim=-1)
    assert (there.sum(dim=-1) == 1).all()
    assert torch.isfinite(solo.u_N2TC).all()
    for row, caption in enumerate(solo.captions):
        assert ("person two" in caption) == bool(there[row, 1])


def test_time_cue() -> None:
    cue = data.cue(("solo", "interaction"), (0, 10), 30, 48)
    assert cue[:, 0].tolist() == [1.0] * 10 + [2.0] * 20 + [0.0] * 18
    assert cue[10, 2] == 0
    assert cue[29, 3] == 0
    assert cue[30:].abs().sum() == 0


@pytest.mark.parametrize(
    ("segments", "frames", "said"),
    [
        ([], 30, "1 to 4"),
        ([("solo", 0)], 60, "16 to 48"),
        ([("dance", 0)], 30, "dance"),
        ([("solo", 3)], 30, "first at 0"),
        ([("solo", 0), ("interaction", 2)], 30, "4 frames"),
        ([("solo", 0), ("interaction", 40)], 30, "4 frames"),
        ([("solo", 0.0)], 30, "whole"),
    ],
)
def test_bad_segments(segments: list[tuple[str, int]], frames: int, said: str) -> None:
    with pytest.raises(InputError, match=said):
        data.check_segments(segments, frames)


def test_a_clip_too_long() -> None:
    with pytest.raises(InputError, match="at most 16"):
        data.pack(data.pairs(1), frames=16)
