"""Reading ahead: logits are the full model's whatever is asked, and what was guessed right costs no pass."""

import random

import pytest
import torch
from test_engine import FULL, TWO, V, family, fresh, reads

from aiflow.collaboration.decoding import ahead, chain
from aiflow.collaboration.decoding.ahead import ROWS, AheadEngine
from aiflow.collaboration.decoding.engine import Read
from aiflow.collaboration.decoding.law import Law
from aiflow.collaboration.decoding.members import FamilyEngine
from aiflow.collaboration.decoding.rules import Greedy, Rule, Shared
from aiflow.collaboration.decoding.tier import Job, Plan, Tier
from aiflow.collaboration.familial.drafter import Drafter, predict
from aiflow.collaboration.familial.family import Family
from aiflow.errors import InputError

W = 5


@pytest.fixture(autouse=True)
def _every_guess_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ahead, "LEAST", 0.0)


def drafter(made: Family) -> Drafter:
    torch.manual_seed(1)
    drafter = Drafter(made.parts.config, width=W, blocks=2).double().eval()
    with torch.no_grad():
        for weight in drafter.parameters():
            weight.add_(0.1 * torch.randn_like(weight))
    return drafter


def guess(made: Family, drafter: Drafter, tokens: list[int]) -> list[int]:
    """What training would have it say after ``tokens``, of which the full model has read all but the last."""
    ids = torch.tensor([tokens])
    with torch.no_grad():
        states = made.hidden(made.embed(ids), [FULL.exit])[FULL.exit]
        drafted = predict(drafter, made, ids, states, torch.tensor([[len(tokens) - 1]]))[0, 0]
        said: list[int] = made.parts.head(made.parts.text.norm(drafted)).argmax(-1).tolist()
    return said


@pytest.mark.parametrize("kind", ["llama", "qwen3"])
def test_logits_are_those_of_a_fresh_pass_whatever_was_read_before(kind: str) -> None:
    made = family(kind)
    shared = FamilyEngine(made, [TWO, FULL])
    engine, rng = shared.ahead(drafter(made)), random.Random(5)
    for batch in reads(5):
        if rng.random() < 0.3:
            shared.view(rng.choice([TWO, FULL])).read(batch)  # others may read the same sessions
        for read, found in zip(batch, engine.read(batch), strict=True):
            torch.testing.assert_close(found, fresh(made.backbone, read), atol=2e-5, rtol=1e-5)


@pytest.mark.parametrize("sessions", [1, 3])
def test_it_guesses_what_training_computed_and_right_guesses_cost_no_pass(sessions: int) -> None:
    made = family("llama")
    trained, rng = drafter(made), random.Random(2)
    engine = FamilyEngine(made).ahead(trained, 4)
    texts = {s: [rng.randrange(V) for _ in range(3 + s)] for s in range(sessions)}
    engine.read([Read(session=s, tokens=t, rows=1) for s, t in texts.items()])  # nothing is known yet: no guess
    assert engine.passes == 1
    for _ in range(3):
        for text in texts.values():
            text.append(rng.randrange(V))
        wanted = {s: [*t, *guess(made, trained, t)[: min(4, ROWS // sessions - 1)]] for s, t in texts.items()}
        before = engine.passes
        for length in range(min(4, ROWS // sessions - 1) + 1):
            asked = [Read(session=s, tokens=w[: len(texts[s]) + length], rows=1) for s, w in wanted.items()]
            for one, found in zip(asked, engine.read(asked), strict=True):
                torch.testing.assert_close(found, fresh(made.backbone, one), atol=2e-5, rtol=1e-5)
        assert engine.passes == before + 1
        texts = wanted
    assert engine.accepted == engine.judged == sum(len(t) - 3 - s for s, t in texts.items()) - 3 * sessions


def test_many_sessions_are_not_guessed_for() -> None:
    made = family("llama")
    shared = FamilyEngine(made)
    engine = shared.ahead(drafter(made))
    for length in (3, 4, 5):
        engine.read([Read(session=s, tokens=[s + 1] * length, rows=1) for s in range(ROWS)])
    assert shared.read_tokens == 5 * ROWS


def test_more_sessions_than_caches() -> None:
    made = family("llama")
    engine = FamilyEngine(made, sessions=2).ahead(drafter(made))
    for length in (4, 5, 6):
        asked = [Read(session=i, tokens=[i + 1, 2, 3 + i, 4, 5, 6][:length], rows=1) for i in range(5)]
        for read, found in zip(asked, engine.read(asked), strict=True):
            torch.testing.assert_close(found, fresh(made.backbone, read), atol=2e-5, rtol=1e-5)


def said(made: Family, rule: Rule, engine: AheadEngine | None = None) -> list[int]:
    tier = Tier(Job(session=1, prompt=(7,), limit=24, vocabulary=V), rule, Plan(eager=True), bottom=True, top=True)
    while chain.step(chain.Station(tier=tier, engine=engine or FamilyEngine(made).view(FULL))):
        pass
    return tier.answer


@pytest.mark.parametrize("rule", [Greedy(law=Law()), Shared(law=Law(temperature=0.9), seed=4)])
@pytest.mark.parametrize("width", [1, 3, W])
def test_the_text_is_the_targets(rule: Rule, width: int) -> None:
    made = family("llama")
    engine = FamilyEngine(made).ahead(drafter(made), width)
    assert said(made, rule, engine) == said(made, rule)
    assert engine.judged > 0


def test_a_closed_session_is_forgotten() -> None:
    made = family("llama")
    engine = FamilyEngine(made).ahead(drafter(made))
    for tokens in ([3, 1, 4], [3, 1, 4, 1], [2, 2, 2], [3, 1, 4]):
        read = Read(session=1, tokens=tokens, rows=1)
        torch.testing.assert_close(engine.read([read])[0], fresh(made.backbone, read), atol=2e-5, rtol=1e-5)
        engine.close(1)
    assert engine.passes == 4


@pytest.mark.parametrize("width", [0, W + 1])
def test_a_width_that_was_not_trained_is_refused(width: int) -> None:
    made = family("llama")
    with pytest.raises(InputError, match=f"guesses of {width} tokens"):
        FamilyEngine(made).ahead(drafter(made), width)


def test_the_full_model_must_be_there() -> None:
    made = family("llama")
    with pytest.raises(InputError, match="was not named"):
        FamilyEngine(made, [TWO]).ahead(drafter(made))


def test_an_images_token_is_not_guessed() -> None:
    made = family("llama")
    trained = drafter(made)
    shared, tokens = FamilyEngine(made), [3, 1, 4, 1, 5]
    wanted = guess(made, trained, tokens)
    shared.image = next(t for t in wanted if t != wanted[0])
    engine = shared.ahead(trained)
    for end in (4, 5):
        engine.read([Read(session=1, tokens=tokens[:end], rows=1)])
    assert engine.guessed(1) == wanted[: wanted.index(shared.image)]


def test_improbable_guesses_are_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    made = family("llama")
    trained, tokens = drafter(made), [3, 1, 4, 1, 5]
    wanted = guess(made, trained, tokens)
    for least, count in ((2.0, 0), (1e-9, W)):
        monkeypatch.setattr(ahead, "LEAST", least)
        engine = FamilyEngine(made).ahead(trained)
        for end in (4, 5):
            engine.read([Read(session=1, tokens=tokens[:end], rows=1)])
        assert engine.guessed(1) == wanted[:count]
    lengths = set()
    for least in (0.5, 0.2, 0.1, 0.05, 0.01):
        monkeypatch.setattr(ahead, "LEAST", least)
        engine = FamilyEngine(made).ahead(trained)
        for end in (4, 5):
            engine.read([Read(session=1, tokens=tokens[:end], rows=1)])
        lengths.add(len(engine.guessed(1)))
        assert engine.guessed(1) == wanted[: len(engine.guessed(1))]
    assert len(lengths) > 1
