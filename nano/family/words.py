"""The family's tokenizer for pictures: the base's, extended by whole words that its corpus lacked.

The merges of each new word are appended after the old ones, so every other word keeps its tokens.
"""

import json
import string
from collections.abc import Sequence
from typing import Any

from aiflow.nano.data import names

# fmt: off
WORDS = (
    "yes", "no", "or", "there", "object", "objects", "circle", "circles", "square", "squares", "triangle",
    "triangles", "cross", "crosses", "bar", "bars", "top", "bottom", "right", "above", "below", "bigger", "smaller",
    "high", "highest", "lowest", "lower", "higher", "field", "letter", "written", "point", "points", "leftmost",
    "rightmost", "picture", "different", "character",
)
# fmt: on


SPACE = "\u0120"
"""How byte-level BPE writes a space."""


def extend(tokenizer: Any, words: Sequence[str] = WORDS) -> Any:
    """A tokenizer in which each of ``words`` (after a space) is one token; new ids follow the old ones."""
    from tokenizers import Tokenizer

    for word in words:
        raw = json.loads(tokenizer.backend_tokenizer.to_str())
        vocab, merges = raw["model"]["vocab"], raw["model"]["merges"]
        pieces = tokenizer.tokenize(word)
        while len(pieces) > 1:
            joined = pieces[0] + pieces[1]
            if joined not in vocab:
                vocab[joined] = len(vocab)
            merges.append([pieces[0], pieces[1]])
            pieces = [joined, *pieces[2:]]
        tokenizer = _rebuilt(tokenizer, Tokenizer.from_str(json.dumps(raw)))
    return tokenizer


def _rebuilt(tokenizer: Any, raw: Any) -> Any:
    from transformers import PreTrainedTokenizerFast

    kept = {
        k: v
        for k, v in tokenizer.init_kwargs.items()
        if k not in ("tokenizer_file", "tokenizer_object", "backend", "chat_template")
    }
    return PreTrainedTokenizerFast(tokenizer_object=raw, chat_template=tokenizer.chat_template, **kept)


def grow(model: Any, old: Any, new: Any, seed: int) -> None:
    """Resizes a model's embeddings to ``new`` and gives every new or rare token a start that the model can tell apart.

    The base hardly ever saw a single letter: after its first block all letters look alike, as averages of pieces do. So
    each letter and each new word borrows the embedding of a noun that the model knows well, with some noise.
    """
    import torch

    model.resize_token_embeddings(len(new), mean_resizing=False)
    table = model.get_input_embeddings().weight
    ids = new.get_vocab()
    lenders = [ids[f"{SPACE}{w}"] for w in names.WORDS if f"{SPACE}{w}" in ids and w not in WORDS]
    letters = [[ids[t] for t in (c, f"{SPACE}{c}") if t in ids] for c in string.ascii_uppercase]
    fresh = [[i] for i in range(len(old), len(new))]
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        size = table[lenders].std()
        for place, group in enumerate(letters + fresh):
            for token in group:
                noise = torch.randn(table.shape[1], generator=generator) * size
                table[token] = 0.9 * table[lenders[place % len(lenders)]] + 0.4 * noise
