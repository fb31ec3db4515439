"""All stages of `aiflow train family`, a thousandth as long and in small batches, from the shipped base to answers."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from aiflow.nano import WEIGHTS, batches
from aiflow.nano import stages as text_stages
from aiflow.nano.family import batches as family_batches
from aiflow.nano.family import cards, evaluate, stages


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out: Path = tmp_path_factory.mktemp("family")
    shutil.copytree(WEIGHTS / "base", out / "base")
    with pytest.MonkeyPatch.context() as patch:
        for recipes in (text_stages.RECIPES, stages.RECIPES):
            for name, recipe in recipes.items():
                patch.setitem(recipes, name, replace(recipe, batch_tokens=256))
        patch.setattr(stages, "CALIBRATION", 3)
        patch.setattr(batches, "BLOCK", 64)
        patch.setattr(family_batches, "BLOCK", 64)
        text_stages.run("generalist", out, out / "work", seed=3, scale=0.001)
        for stage in ("tower", "model", "family", "hpcd", "family/drafter", "family/tofc"):
            stages.run(stage, out, out / "work", seed=3, scale=0.001)
    return out


@pytest.mark.slow
def test_the_family_holds_members_that_answer_questions_on_pictures(trained: Path) -> None:
    from transformers import AutoProcessor, AutoTokenizer

    from aiflow.collaboration.familial.family import Family, Member

    family = Family.from_pretrained(trained / "family", dtype=torch.float32)
    assert family.exits == (1, 2, 3, 4, 6, 8)
    tokenizer = AutoTokenizer.from_pretrained(trained / "family")
    marks = evaluate.visual(family.member(Member(exit=2)), tokenizer, 2)
    assert {len(values) for values in marks.values()} == {2}
    assert len(marks) == 9
    processor = AutoProcessor.from_pretrained(trained / "family", backend="pil")
    assert processor.image_processor.size["height"] == 64
    report = json.loads((trained / "family" / "training.json").read_text())
    assert report["parameters"]["2"] < report["parameters"]["8"]


@pytest.mark.slow
def test_the_low_rank_members_are_nested_and_answer_questions(trained: Path) -> None:
    from transformers import AutoTokenizer

    from aiflow.collaboration.familial import nested

    levels = nested.members(trained / "hpcd")
    assert [level.name for level in levels] == ["1", "2", "3", "4"]
    assert levels[0].parameters < 0.38 * levels[-1].parameters
    tokenizer = AutoTokenizer.from_pretrained(trained / "hpcd")
    marks = evaluate.text(nested.load(trained / "hpcd", "1", torch.float32), tokenizer, 1)
    assert {name: len(values) for name, values in marks.items()} == dict.fromkeys(evaluate.TEXT, 2)


@pytest.mark.slow
def test_the_drafter_belongs_to_the_family_and_reads_ahead_for_it(
    trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from aiflow.collaboration.decoding import ahead
    from aiflow.collaboration.decoding.engine import Read
    from aiflow.collaboration.decoding.members import FamilyEngine
    from aiflow.collaboration.familial.drafter import Drafter
    from aiflow.collaboration.familial.family import Family

    family = Family.from_pretrained(trained / "family", dtype=torch.float32)
    drafter = Drafter.from_pretrained(trained / "family" / "drafter", family)
    report = json.loads((trained / "family" / "drafter" / "training.json").read_text())
    assert report["parameters"] == sum(p.numel() for p in drafter.parameters())
    monkeypatch.setattr(ahead, "LEAST", 0.0)  # it has hardly been trained
    engine = FamilyEngine(family).ahead(drafter)
    for end in (8, 9):
        engine.read([Read(session=1, tokens=list(range(20, 20 + end)), rows=1)])
    assert len(engine.guessed(1)) == stages.WIDTH


@pytest.mark.slow
def test_the_codec_belongs_to_the_family_and_brings_pictures_as_few_features(trained: Path) -> None:
    from aiflow.collaboration.familial.family import Family
    from aiflow.collaboration.tofc.model import Compressor
    from aiflow.collaboration.tofc.stream import Coder
    from aiflow.nano.family.model import pixels
    from aiflow.nano.visual.suites import suite

    made = Compressor.from_pretrained(
        trained / "family" / "tofc", Family.from_pretrained(trained / "family", dtype=torch.float32).backbone
    )
    image = suite("chartqa", 1)[0].image
    x_NC = made.adapter.features(pixels(image[None]))[0]
    coder = Coder(made.codec)
    for tokens in made.codec.config.tokens:
        data = coder.encode([x_NC], tokens, 0)
        assert len(data) < x_NC.numel()
        assert coder.decode(data).tiles[0].x_MC.shape == (tokens, x_NC.shape[1])
    report = json.loads((trained / "family" / "tofc" / "training.json").read_text())
    assert report["step"] == stages.RECIPES["family/tofc"].steps // 1000


@pytest.mark.slow
def test_cards_are_written_from_what_was_measured(trained: Path) -> None:
    scores = cards.ship(trained, n=2)
    text = (trained / "family" / "README.md").read_text()
    for row in scores["family"]:
        assert f"| {row['member']} | {row['parameters']:,} |" in text
    assert "| tower | 3 | 2 |" in text


@pytest.mark.slow
def test_a_stage_continues_and_counts_what_it_did(trained: Path) -> None:
    before: dict[str, Any] = json.loads((trained / "tower" / "training.json").read_text())
    again = stages.run("tower", trained, trained / "work", seed=3, scale=0.001)
    assert again["step"] == before["step"]
    assert again["tokens"] == before["tokens"]


def test_new_words_are_single_tokens_and_old_texts_keep_theirs() -> None:
    from transformers import AutoTokenizer

    from aiflow.nano.family.words import WORDS, extend

    old = AutoTokenizer.from_pretrained(WEIGHTS / "base")
    new = extend(old)
    assert all(len(new.tokenize(word)) == 1 for word in WORDS)
    text = "Sara has 7 boxes with 4 coins each. How many coins does Sara have now?"
    assert old(text)["input_ids"] == new(text)["input_ids"]
    assert new.decode(new("a red circle")["input_ids"]).strip() == "a red circle"
