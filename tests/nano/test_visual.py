"""Scenes, pictures, labels and the training stream of the visual questions."""

import random

import numpy as np
import pytest

from aiflow.nano.data.dialogue import fits
from aiflow.nano.visual import captions, draw, questions, scenes, scoring, stream

HEADS = list(draw.HEADS)
KINDS = list(scenes.MAKERS)


def test_a_seed_gives_the_same_pictures_and_dialogues() -> None:
    one, two = random.Random(5), random.Random(5)
    for _ in range(20):
        (a, x), (b, y) = stream.lesson(one), stream.lesson(two)
        assert np.array_equal(a, b)
        assert x == y
    assert not np.array_equal(stream.lesson(one)[0], stream.lesson(random.Random(6))[0])


@pytest.mark.parametrize("kind", KINDS)
def test_held_out_instances_never_occur_in_training(kind: str) -> None:
    rng = random.Random(1)
    train = {scenes.scene(rng, kind, "train").instance for _ in range(300)}
    suite = {scenes.scene(rng, kind, "suite").instance for _ in range(100)}
    assert not train & suite
    assert all(fits(i, "train") for i in train)
    assert all(fits(i, "suite") for i in suite)


def test_lessons_use_training_instances_only(monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[scenes.Scene] = []
    monkeypatch.setattr(stream.draw, "render", lambda s: shown.append(s) or np.zeros(1))
    rng = random.Random(2)
    dialogues = [stream.lesson(rng)[1] for _ in range(300)]
    assert {type(s) for s in shown} == set(draw.LAYERS)
    assert all(fits(s.instance, "train") for s in shown)
    for d in dialogues:
        assert [t.role for t in d] == ["user", "assistant"] * (len(d) // 2)
        assert all(t.learn == (t.role == "assistant") for t in d)
        assert (2 <= len(d) // 2 <= 7) or d[0].text.startswith("List the ")
    captions = sum(d[0].text.startswith("List the ") for d in dialogues)
    assert 0.15 < captions / len(dialogues) < 0.35
    asked = [t.text for d in dialogues for t in d if t.role == "user"]
    assert sum("Answer with the text of one option." in text for text in asked) > 50


def test_captions_say_what_the_picture_shows() -> None:
    rng = random.Random(4)
    for kind in KINDS:
        shown = scenes.scene(rng, kind, "train")
        prompt, said = captions.caption(shown)
        assert prompt.startswith("List the ")
        if isinstance(shown, scenes.Shapes):
            assert len(said.split(", ")) == len(shown.things)
            assert all(f"{t.colour} {t.kind}" in said for t in shown.things)
        elif isinstance(shown, scenes.Chart):
            assert said == ", ".join(f"{c} {h}" for c, h in zip(shown.colours, shown.heights, strict=True))
        elif isinstance(shown, scenes.Word):
            assert said.replace(" ", "") == shown.text


@pytest.mark.parametrize("kind", KINDS)
def test_labels_agree_with_the_picture(kind: str) -> None:
    """A patch's colour label is the nearest named colour of its foreground pixels; empty patches have no label."""
    rng = random.Random(3)
    names = np.array([draw.RGB[c] for c in scenes.COLOURS], float)
    for _ in range(40):
        scene = scenes.scene(rng, kind, "train")
        image, labels = draw.both(scene)
        assert image.shape == (64, 64, 3)
        assert labels.shape == (64, len(HEADS))
        assert (labels < np.array(list(draw.HEADS.values()))).all()
        ground = np.array(draw.GROUNDS[scene.background], float)
        for p in range(64):
            y, x = p // 8 * 8, p % 8 * 8
            pixels = image[y : y + 8, x : x + 8].reshape(-1, 3).astype(float)
            far = pixels[np.abs(pixels - ground).max(1) > 14]
            row = dict(zip(HEADS, labels[p], strict=True))
            nearest = np.linalg.norm(far[:, None] - names, axis=2)
            good = nearest.argmin(1)[nearest.min(1) < 45]
            if not row["kind"]:
                # Each object below the threshold; an empty patch may touch two.
                assert len(good) < 2 * draw.LEAST
                assert not labels[p].any()
            else:
                assert (good == row["colour"] - 1).sum() >= draw.LEAST


def test_labels_name_what_a_scene_shows() -> None:
    rng = random.Random(4)
    for kind in KINDS:
        scene = scenes.scene(rng, kind, "train")
        labels = draw.labels(scene)
        column = {h: set(labels[:, i].tolist()) - {0} for i, h in enumerate(HEADS)}
        if isinstance(scene, scenes.Shapes):
            assert {draw.KINDS[k - 1] for k in column["kind"]} == {t.kind for t in scene.things}
            assert not column["char"] | column["value"] | column["direction"]
        if isinstance(scene, scenes.Word):
            assert {scenes.CHARACTERS[c - 1] for c in column["char"]} == set(scene.text)
        if isinstance(scene, scenes.Chart):
            assert column["value"] == set(scene.heights)
        if isinstance(scene, scenes.Diagram):
            ends = [(scene.slots[a], scene.slots[b]) for a, b in scene.arrows]
            assert {draw.DIRECTIONS[d - 1] for d in column["direction"]} == {draw.direction(*e) for e in ends}
        if isinstance(scene, scenes.Document):
            assert {scenes.CHARACTERS[c - 1] for c in column["char"]} == set("".join(scene.letters + scene.values))


def test_bars_carry_their_heights() -> None:
    scene = scenes.Chart(colours=("red", "blue"), heights=(9, 1), x=8, step=16, background=0, noise=0)
    bars = draw.labels(scene)[:, HEADS.index("value")].reshape(8, 8)
    assert bars[1, 1] == 9
    assert bars[7, 3] == 1
    assert bars[2, 3] == 0


def test_questions_follow_their_scene() -> None:
    thing = {"size": scenes.BIG, "y": 20}
    star = scenes.Thing(kind="star", colour="green", x=2, **thing)  # type: ignore[arg-type]
    cross = scenes.Thing(kind="cross", colour="red", x=40, **thing)  # type: ignore[arg-type]
    scene = scenes.Shapes(things=(star, cross), background=0, noise=0)
    rng = random.Random(0)
    for _ in range(20):
        drawn = questions.draw(rng, "mme", "position", scene)
        assert drawn is not None
        yes, no = drawn[1]
        assert (yes.answer, no.answer) == ("yes", "no")
        assert ("star left" in yes.prompt) or ("cross right" in yes.prompt)
        seen = questions.draw(rng, "seed", "relation", scene)
        assert seen is not None
        right = seen[1][0].options["ABCD".index(seen[1][0].answer)]
        assert right == ("left" if "Where is the star" in seen[1][0].prompt else "right")
    assert questions.draw(rng, "realworldqa", "bigger", scene) is None
    assert questions.draw(rng, "mmstar", "odd", scene) is None


def test_what_training_says_is_right() -> None:
    """Every answer that a lesson teaches gets full marks from the rules that score it."""
    rng, checked = random.Random(9), set()
    for form in questions.FORMS:
        for category in questions.CATEGORIES[form]:
            while (form, category) not in checked:
                drawn = questions.draw(rng, form, category, scenes.scene(rng, questions.SCENE[form], "train"))
                for q in drawn[1] if drawn else ():
                    assert scoring.mark(form, q.options, q.answer, q.said) == 1.0
                    checked.add((form, category))
    assert len(checked) == sum(len(c) for c in questions.CATEGORIES.values())
