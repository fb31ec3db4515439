"""The parts of the transformers back end that need no model: text, sampling, images, prefill groups."""

import random
from collections import Counter

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from aiflow.agents.backends.transformers.batched import groups
from aiflow.agents.backends.transformers.requests import Prompt, Request
from aiflow.agents.backends.transformers.sampling import Law, choose
from aiflow.agents.backends.transformers.vision import pictures
from aiflow.agents.backends.transformers.writer import Writer
from aiflow.errors import InputError
from aiflow.types import Image, Message

TEXT = "the café 日本語 🙂 naïve\n a  b"


def byte_tokenizer() -> Tokenizer:
    vocab = {c: i for i, c in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    made = Tokenizer(models.BPE(vocab=vocab, merges=[]))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    return made


def word_tokenizer() -> Tokenizer:
    made = Tokenizer(models.WordLevel({w: i for i, w in enumerate(["[UNK]", *TEXT.split()])}, unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return made


def metaspace_tokenizer() -> Tokenizer:
    words = ["<unk>", *(f"▁{w}" for w in ("the", "cat", "sat")), "s", "▁"]
    made = Tokenizer(models.WordLevel({w: i for i, w in enumerate(words)}, unk_token="<unk>"))
    made.decoder = decoders.Metaspace()
    return made


@pytest.mark.parametrize("made", [byte_tokenizer(), word_tokenizer()])
def test_pieces_make_the_text_and_no_half_character(made: Tokenizer) -> None:
    ids = made.encode(TEXT).ids
    writer = Writer(made.decode)
    pieces = [writer.push(i) for i in ids]
    assert not any("\ufffd" in piece for piece in pieces)
    assert "".join([*pieces, writer.end()]) == made.decode(ids)


def test_a_leading_space_is_stripped_once() -> None:
    made = metaspace_tokenizer()
    writer = Writer(made.decode)
    ids = [1, 2, 4, 3, 5, 1]
    assert "".join([*map(writer.push, ids), writer.end()]) == made.decode(ids)


def test_an_answer_that_ends_inside_a_character_loses_it() -> None:
    made = byte_tokenizer()
    writer = Writer(made.decode)
    pieces = [writer.push(i) for i in made.encode("a日").ids[:-1]]
    assert "".join([*pieces, writer.end()]) == "a"


@pytest.mark.parametrize(
    ("stop", "text"), [(("日本",), "the café "), (("zzz", "é 日"), "the caf"), (("naïveX",), TEXT)]
)
def test_stop_strings_across_tokens(stop: tuple[str, ...], text: str) -> None:
    made = byte_tokenizer()
    writer = Writer(made.decode, stop)
    out = ""
    for token in made.encode(TEXT).ids:
        out += writer.push(token)
        assert text.startswith(out)
        if writer.stopped:
            break
    assert out + ("" if writer.stopped else writer.end()) == text
    assert writer.stopped == (text != TEXT)


def test_samples_follow_the_law_and_its_nucleus() -> None:
    logits_1V = torch.tensor([[2.0, 1.0, 0.0, -1.0]])
    draws = random.Random(0)
    for temperature, top_p in ((1.0, 1.0), (0.7, 0.9), (2.0, 0.5), (1.0, 0.01)):
        law = Law(temperature=temperature, top_p=top_p, draws=draws)
        seen = Counter(choose(logits_1V, [law])[0] for _ in range(4000))
        probs = (logits_1V[0] / temperature).softmax(-1).tolist()
        kept = [p if sum(probs[:i]) < top_p else 0.0 for i, p in enumerate(probs)]
        for token, p in enumerate(kept):
            assert seen[token] / 4000 == pytest.approx(p / sum(kept), abs=0.03)
            assert p or not seen[token]


def test_greedy_and_sampled_rows_share_a_batch() -> None:
    logits_NV = torch.randn(6, 50, generator=torch.Generator().manual_seed(0))
    laws = [Law(temperature=t, top_p=0.8, draws=random.Random(i)) for i, t in enumerate((0, 1, 0, 1e-9, 10, 0))]
    together = choose(logits_NV, laws)
    laws = [Law(temperature=law.temperature, top_p=0.8, draws=random.Random(i)) for i, law in enumerate(laws)]
    assert together == [choose(row[None], [law])[0] for row, law in zip(logits_NV, laws, strict=True)]
    assert together[3] == int(logits_NV[3].argmax())


def request(length: int, **extra: int) -> Request:
    made = Request.__new__(Request)
    made.prompt = Prompt(ids=[7] * length, extra=extra)
    return made


def test_prefills_waste_little_and_images_go_alone() -> None:
    fresh = [request(n) for n in (100, 10, 95, 90, 12, 100)] + [request(11, pixel_values=1)]
    lengths = [[len(r.prompt.ids) for r in group] for group in groups(fresh)]
    assert lengths == [[100, 100, 95, 90], [12], [11], [10]]


def test_an_image_that_cannot_be_decoded_is_named_in_one_line() -> None:
    with pytest.raises(InputError, match="20 bytes") as caught:
        pictures([Message("user", "what?", (Image(b"\x89PNG" + b"x" * 16),))])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("law", [Law(), Law(temperature=2.0, draws=random.Random(1))])
def test_a_silent_token_is_never_chosen(law: Law) -> None:
    logits_1V = torch.tensor([[0.0, 9.0, 1.0]])
    assert {choose(logits_1V, [law], (1,))[0] for _ in range(50)} <= {0, 2}
    assert logits_1V.tolist() == [[0.0, 9.0, 1.0]]
