"""Engines: logits as from a fresh forward pass, whatever was read before, for one session or many together."""

import random
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import (
    CLIPVisionConfig,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    LlavaConfig,
    LlavaForConditionalGeneration,
    MistralConfig,
    MistralForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from aiflow.collaboration.decoding import blocks, chain
from aiflow.collaboration.decoding.engine import Engine, Read, TransformersEngine
from aiflow.collaboration.decoding.law import Law
from aiflow.collaboration.decoding.members import FamilyEngine
from aiflow.collaboration.decoding.rules import Greedy
from aiflow.collaboration.decoding.tier import Job, Plan, Tier
from aiflow.collaboration.familial.branching import Calibration, initialise
from aiflow.collaboration.familial.family import Family, Member
from aiflow.errors import InputError

V = 50
SIZES: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": V,
    "max_position_embeddings": 600,
    "initializer_range": 0.15,
}
KINDS: dict[str, Callable[[], Any]] = {
    "llama": lambda: LlamaForCausalLM(LlamaConfig(**SIZES)),
    "qwen2": lambda: Qwen2ForCausalLM(Qwen2Config(**SIZES)),
    "qwen3": lambda: Qwen3ForCausalLM(Qwen3Config(**SIZES, head_dim=16)),
    "mistral": lambda: MistralForCausalLM(MistralConfig(**SIZES, sliding_window=None)),
}
FULL, TWO, BARE = Member(exit=3), Member(exit=2), Member(exit=1, keep=0)


def model(kind: str) -> Any:
    torch.manual_seed(0)
    made = KINDS[kind]().double().eval()
    with torch.no_grad():
        for name, weight in made.named_parameters():
            if weight.ndim == 1:  # norms and biases, which start as ones and zeros
                weight.add_(0.3 * torch.rand_like(weight) if "norm" in name else 0.3 * torch.randn_like(weight))
    return made


def family(kind: str) -> Family:
    made = Family(model(kind))
    initialise(made, {2: 0.8}, [Calibration.of_ids(made, torch.randint(0, V, (8, 24)))])
    return made


def own(kind: str) -> Engine:
    return FamilyEngine(Family(model(kind))).view(FULL)


def theirs(kind: str) -> Engine:
    return TransformersEngine(model(kind))


def fresh(model: Any, read: Read) -> Tensor:
    with torch.no_grad():
        logits: Tensor = model(torch.tensor([list(read.tokens)])).logits[0, -read.rows :]
    return logits


def reads(seed: int) -> list[list[Read]]:
    """What several sessions ask for over time: they grow, are taken back, and are asked about again."""
    rng = random.Random(seed)
    tokens: dict[int, list[int]] = {}
    asked = []
    for _ in range(30):
        batch = []
        for session in rng.sample(range(5), rng.randint(1, 4)):
            known = tokens.get(session, [])
            known = known[: rng.randint(0, len(known))] if rng.random() < 0.5 else list(known)
            known += [rng.randrange(V) for _ in range(rng.choice([1, 1, 2, 5, 40]))]
            tokens[session] = known
            batch.append(Read(session=session, tokens=list(known), rows=rng.randint(1, min(6, len(known)))))
        asked.append(batch)
    return asked


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("make", [own, theirs])
def test_logits_are_those_of_a_fresh_pass_whatever_was_read_before(kind: str, make: Callable[[str], Engine]) -> None:
    engine, alone = make(kind), model(kind)
    for batch in reads(1):
        for read, found in zip(batch, engine.read(batch), strict=True):
            # transformers' norms round to float32 on the way
            torch.testing.assert_close(found, fresh(alone, read), atol=2e-5, rtol=1e-5)


def test_a_model_of_another_architecture_is_read_too() -> None:
    torch.manual_seed(0)
    config = GPT2Config(n_embd=32, n_layer=2, n_head=2, vocab_size=V, n_positions=600, attn_pdrop=0.0)
    gpt2 = GPT2LMHeadModel(config).double().eval()
    engine = TransformersEngine(gpt2)
    for batch in reads(2):
        for read, found in zip(batch, engine.read(batch), strict=True):
            torch.testing.assert_close(found, fresh(gpt2, read), atol=1e-10, rtol=1e-10)  # its norms keep float64


@pytest.mark.parametrize("kind", ["qwen2", "qwen3"])
def test_matrices_too_large_to_be_joined_are_read_where_they_are(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    joined = own(kind)
    monkeypatch.setattr(blocks, "JOINED", 0)
    apart = own(kind)
    for batch in reads(4):
        for one, other in zip(joined.read(batch), apart.read(batch), strict=True):
            torch.testing.assert_close(one, other, atol=1e-10, rtol=1e-10)


@pytest.mark.parametrize("kind", ["llama", "qwen2"])
def test_members_share_what_is_computed_and_disturb_nothing(kind: str) -> None:
    made = family(kind)
    shared = FamilyEngine(made, [BARE, TWO, FULL])
    rng = random.Random(3)
    for batch in reads(3):
        member = rng.choice([BARE, TWO, FULL])
        for read, found in zip(batch, shared.view(member).read(batch), strict=True):
            with torch.no_grad():
                expected = made(torch.tensor([list(read.tokens)]), member)[0, -read.rows :]
            torch.testing.assert_close(found, expected, atol=2e-5, rtol=1e-5)


def test_a_draft_is_not_read_again_by_the_blocks_that_the_target_shares() -> None:
    shared = FamilyEngine(family("llama"), [TWO, FULL])
    small, full = shared.view(TWO), shared.view(FULL)
    tokens = [1, 2, 3, 4]
    small.read([Read(session=1, tokens=tokens, rows=1)])
    full.read([Read(session=1, tokens=tokens, rows=1)])
    before = shared.read_tokens
    for token in (5, 6, 7):
        tokens.append(token)
        small.read([Read(session=1, tokens=tokens, rows=1)])
    assert shared.read_tokens == before + 3
    full.read([Read(session=1, tokens=tokens, rows=4)])
    assert shared.read_tokens == before + 3


@pytest.mark.parametrize("window", [4, 8])
def test_sliding_windows(window: int) -> None:
    torch.manual_seed(0)
    mistral = MistralForCausalLM(MistralConfig(**SIZES, sliding_window=window)).double().eval()
    engine = FamilyEngine(Family(mistral)).view(FULL)
    for batch in reads(4):
        for read, found in zip(batch, engine.read(batch), strict=True):
            torch.testing.assert_close(found, fresh(mistral, read), atol=2e-5, rtol=1e-5)
    with pytest.raises(InputError, match="sliding"):
        TransformersEngine(mistral)


@pytest.mark.parametrize(
    "make", [lambda m: TransformersEngine(m, sessions=2), lambda m: FamilyEngine(Family(m), sessions=2)]
)
def test_caches_are_bounded_and_what_was_evicted_is_read_again(make: Callable[[Any], Any]) -> None:
    llama = model("llama")
    made = make(llama)
    engine = made if isinstance(made, TransformersEngine) else made.view(FULL)
    sizes = []
    for turn in range(12):
        read = Read(session=turn % 4, tokens=[turn % 4, *range(turn + 1)], rows=1)
        torch.testing.assert_close(engine.read([read])[0], fresh(llama, read), atol=2e-5, rtol=1e-5)
        sizes.append(made.bytes)
    assert len(set(sizes[2:])) == 1
    many = [Read(session=10 + k, tokens=[k, k + 1, k + 2], rows=2) for k in range(5)]
    for read, found in zip(many, engine.read(many), strict=True):
        torch.testing.assert_close(found, fresh(llama, read), atol=2e-5, rtol=1e-5)
    assert made.bytes == sizes[-1]


@pytest.mark.parametrize("make", [own, theirs])
@pytest.mark.parametrize(("tokens", "rows"), [([], 1), ([1, 2], 3), ([1, 2], 0)])
def test_more_rows_than_tokens_are_refused(make: Callable[[str], Engine], tokens: list[int], rows: int) -> None:
    engine = make("llama")
    with pytest.raises(InputError, match="rows"):
        engine.read([Read(session=1, tokens=tokens, rows=rows)])


@pytest.mark.parametrize("make", [own, theirs])
def test_tokens_may_be_any_sequence(make: Callable[[str], Engine]) -> None:
    engine, tokens = make("llama"), [1, 2, 3]
    (first,) = engine.read([Read(session=1, tokens=tuple(tokens), rows=1)])
    (again,) = engine.read([Read(session=1, tokens=[*tokens, 4], rows=2)])
    torch.testing.assert_close(again[:1], first, atol=2e-5, rtol=1e-5)


def test_eager_attention_is_read_right() -> None:
    llama = model("llama")
    llama.set_attn_implementation("eager")
    engine = TransformersEngine(llama)
    for batch in reads(5):
        for read, found in zip(batch, engine.read(batch), strict=True):
            torch.testing.assert_close(found, fresh(llama, read), atol=2e-5, rtol=1e-5)


@pytest.mark.parametrize("make", [own, theirs])
def test_two_readings_of_one_session_at_once_are_refused(make: Callable[[str], Engine]) -> None:
    with pytest.raises(InputError, match="twice"):
        make("llama").read([Read(session=1, tokens=[1, 2], rows=1), Read(session=1, tokens=[1, 3], rows=1)])


def test_a_failed_pass_leaves_no_wrong_cache() -> None:
    llama = model("llama")
    for engine in (TransformersEngine(llama), FamilyEngine(Family(llama)).view(FULL)):
        good = Read(session=1, tokens=[1, 2, 3], rows=1)
        engine.read([good])
        with pytest.raises(IndexError):
            engine.read([Read(session=1, tokens=[1, 2, V + 7], rows=1)])
        again = Read(session=1, tokens=[1, 2, 3, 4], rows=2)
        torch.testing.assert_close(engine.read([again])[0], fresh(llama, again), atol=2e-5, rtol=1e-5)


def test_a_picture_is_read_once() -> None:
    torch.manual_seed(0)
    vision = CLIPVisionConfig(
        hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2, image_size=8, patch_size=4
    )
    config = LlavaConfig(vision_config=vision, text_config=LlamaConfig(**SIZES), image_token_index=49)
    llava = LlavaForConditionalGeneration(config).double().eval()
    pixels = torch.randn(1, 3, 8, 8, dtype=torch.float64)
    prompt, extra = [1, 49, 49, 49, 49, 2], {"pixel_values": pixels}
    seen = 0

    def count(*_: Any) -> None:
        nonlocal seen
        seen += 1

    llava.model.vision_tower.register_forward_hook(count)
    for engine in (TransformersEngine(llava), FamilyEngine(Family(llava)).view(FULL)):
        seen = 0
        for tokens in (prompt, [*prompt, 3, 4], [*prompt, 3, 5]):
            (found,) = engine.read([Read(session=1, tokens=tokens, rows=1, extra=extra)])
            with torch.no_grad():
                expected = llava(input_ids=torch.tensor([tokens]), pixel_values=pixels).logits[0, -1:]
            seen -= 1
            torch.testing.assert_close(found, expected, atol=2e-5, rtol=1e-5)
        assert seen == 1


class Counting:
    """Notes how many tokens each reading adds to the longest prefix that was read before."""

    def __init__(self, engine: Engine) -> None:
        self.engine, self.kept, self.fed = engine, list[int](), list[int]()

    def read(self, asked: Any) -> list[Tensor]:
        (one,) = asked
        same = 0
        while same < min(len(self.kept), len(one.tokens) - one.rows) and self.kept[same] == one.tokens[same]:
            same += 1
        self.fed.append(len(one.tokens) - same)
        self.kept = list(one.tokens)
        return self.engine.read(asked)

    def close(self, session: int) -> None:
        self.engine.close(session)


def test_the_device_reads_two_tokens_exactly_after_a_fully_accepted_round() -> None:
    big, small = model("llama"), model("qwen3")
    device, server = Counting(TransformersEngine(small)), Counting(TransformersEngine(big))
    job = Job(session=1, prompt=(1, 2, 3), limit=60, vocabulary=V)
    plan = Plan(block=3, ahead=3)
    stations = [
        chain.Station(tier=Tier(job, Greedy(law=Law()), plan, bottom=True), engine=device),
        chain.Station(tier=Tier(job, Greedy(law=Law()), plan, top=True), engine=server),
    ]
    seen, full = 0, False
    while not stations[0].tier.done:
        if chain.step(stations[0]):
            if seen and stations[0].tier.own == stations[0].tier.above + 1:  # the first draft of a round
                assert device.fed[-1] == (2 if full else 1)
        else:
            before, left = stations[1].tier.accepted, 60 - len(stations[1].tier.answer)
            assert chain.step(stations[1])
            if seen and left > 4:
                assert server.fed[-1] == 4  # the pending token and the drafts
            seen, full = seen + 1, stations[1].tier.accepted - before == 3
        chain.deliver(stations, chain.Ran(passes=[0, 0], up=[0, 0], down=[0, 0]))
    assert stations[0].tier.answer == stations[1].tier.answer
