"""Captions as tokens, and their encoder."""

from pathlib import Path

import pytest
import torch

from aiflow.diffusion.blocks import AdaLNBlock
from aiflow.diffusion.words import WordEncoder, tokens, word_tokenizer
from aiflow.errors import InputError

WORDS = ["a", "person", "waves", "left"]


def test_words_are_read_whatever_their_case_and_marks() -> None:
    tokenizer = word_tokenizer(WORDS, 6)
    ids, mask = tokens(tokenizer, ["A person, waves.", "left"])
    assert tokenizer.convert_ids_to_tokens(ids[0, :3].tolist()) == ["a", "person", "waves"]
    assert mask.tolist() == [[True] * 3 + [False] * 3, [True] + [False] * 5]


@pytest.mark.parametrize(
    ("text", "words"),
    [("", "is empty"), (" \n", "is empty"), ("...", "no words"), ("a persn waves", "'persn'.*did you mean 'person'")],
)
def test_texts_that_cannot_be_used(text: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        tokens(word_tokenizer(WORDS, 6), [text])


def test_too_long() -> None:
    with pytest.raises(InputError, match="4 tokens, at most 3"):
        tokens(word_tokenizer(WORDS, 3), ["a person waves left"])


def test_saved_and_loaded_alike(tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    tokenizer, encoder = word_tokenizer(WORDS, 6), WordEncoder(vocabulary=6, width=16, heads=2)
    tokenizer.save_pretrained(tmp_path / "t")
    encoder.save_pretrained(tmp_path / "e")
    read = tokens(AutoTokenizer.from_pretrained(tmp_path / "t"), ["a person waves"])
    again = WordEncoder.from_pretrained(tmp_path / "e")
    wanted, got = encoder(*tokens(tokenizer, ["a person waves"])), again(*read)
    assert torch.equal(wanted[0], got[0])
    with pytest.raises(InputError, match="persn"):
        tokens(AutoTokenizer.from_pretrained(tmp_path / "t"), ["persn"])


def test_padding_changes_nothing() -> None:
    torch.manual_seed(0)
    encoder = WordEncoder(vocabulary=6, width=16, heads=2).double()
    short, long = (encoder(*tokens(word_tokenizer(WORDS, n), ["a person waves"])) for n in (3, 9))
    torch.testing.assert_close(short[1], long[1])
    torch.testing.assert_close(short[0], long[0][:, :3])
    assert not long[0][:, 3:].any()


def test_a_new_block_is_the_identity_and_ignores_masked_places() -> None:
    torch.manual_seed(0)
    block = AdaLNBlock(16, 2, 8, other=12).double()
    x, e, other = (torch.randn(2, 5, n, dtype=torch.float64) for n in (16, 8, 12))
    assert torch.equal(block(x, e[:, 0], None, other), x)
    torch.nn.init.normal_(block.modulation.weight)
    mask = torch.tensor([[True] * 3 + [False] * 2] * 2)
    before = block(x, e[:, 0], mask, other, mask)
    x[:, 3:] += 1
    other[:, 3:] += 1
    after = block(x, e[:, 0], mask, other, mask)
    torch.testing.assert_close(before[:, :3], after[:, :3])
    assert not torch.allclose(before[:, 3:], after[:, 3:])
