"""The procedural data: deterministic, disjoint from the suite, private."""

import random
from itertools import combinations

import pytest

from aiflow.nano.data import base, device, names, server
from aiflow.nano.data.dialogue import Dialogue
from aiflow.nano.data.encyclopaedia import ENTITIES, facts
from aiflow.nano.questions import suite

STREAMS = {"base": base.stream, "server": server.lesson, **device.STREAMS}


def drawn(stream: str, seed: int = 3, count: int = 1500) -> list[Dialogue]:
    rng = random.Random(seed)
    return [STREAMS[stream](rng) for _ in range(count)]


def texts(stream: str) -> str:
    return "\n".join(t.text for d in drawn(stream) for t in d)


@pytest.mark.parametrize("stream", STREAMS)
def test_a_seed_decides_the_stream(stream: str) -> None:
    assert drawn(stream, 5, 50) == drawn(stream, 5, 50)
    assert drawn(stream, 5, 50) != drawn(stream, 6, 50)


@pytest.mark.parametrize("stream", STREAMS)
def test_every_dialogue_ends_with_a_target(stream: str) -> None:
    for dialogue in drawn(stream, count=300):
        assert dialogue[-1].role == "assistant"
        assert dialogue[-1].learn
        assert [t.role for t in dialogue] == ["user", "assistant"] * (len(dialogue) // 2)
        assert all(t.text for t in dialogue)


@pytest.mark.parametrize("stream", STREAMS)
def test_no_question_of_the_suite_is_trained_on(stream: str) -> None:
    questions = suite(640)
    body = texts(stream)
    users = {t.text for d in drawn(stream) for t in d} | {line.removeprefix("User: ") for line in body.split("\n")}
    assert not {q.turns[0] for q in questions} & users
    procedural = [q for q in questions if q.category in ("arithmetic", "word_problems", "code", "text")]
    assert not [q for q in procedural if q.turns[0] in body]
    assert not [q for q in procedural if (i := q.turns[0].split(": ")[-1]) in body and len(i) > 12]


@pytest.mark.parametrize(("stream", "hidden"), [(s, e) for s in STREAMS for e in ("islands", "minerals") if s != e])
def test_private_entities_stay_private(stream: str, hidden: str) -> None:
    body = texts(stream)
    part = {"islands": 0, "minerals": 1}[hidden]
    assert not [x for x in names.private_names(part, ENTITIES) if x in body]


def test_an_encyclopaedia_device_sees_all_its_facts() -> None:
    for topic in ("islands", "minerals"):
        body = texts(topic)
        assert all(x in body for x, _ in facts(topic))
        assert all(v in body for v in facts(topic).values())
        assert len(facts(topic)) == ENTITIES * 6


def test_entities_belong_to_one_owner() -> None:
    rng = random.Random(0)
    owned = [set(names.private_names(part, ENTITIES)) for part in (0, 1)]
    owned.append({names.free_name(rng) for _ in range(5000)})
    assert all(not a & b for a, b in combinations(owned, 2))


def test_too_many_entities_are_refused() -> None:
    with pytest.raises(ValueError, match="1 to 64"):
        names.private_names(0, 65)
