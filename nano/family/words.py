"""The family's tokenizer for pictures: the base's, extended by whole words that its corpus lacked.

The merges of each new word are appended after the old ones, so every other word keeps its tokens.
"""

import json
from collections.abc import Sequence
from typing import Any

# fmt: off
WORDS = (
    "yes", "no", "or", "there", "object", "objects", "circle", "circles", "square", "squares", "triangle",
    "triangles", "cross", "crosses", "bar", "bars", "top", "bottom", "right", "above", "below", "bigger", "smaller",
    "high", "highest", "lowest", "lower", "higher", "field", "letter", "written", "point", "points", "leftmost",
    "rightmost", "picture", "different", "character",
)
# fmt: on


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


def grow(model: Any, old: Any, new: Any) -> None:
    """Resizes a model's embeddings to ``new``; each new token starts as the mean of the pieces it had in ``old``."""
    import torch

    pieces = {i: old(new.decode([i]), add_special_tokens=False)["input_ids"] for i in range(len(old), len(new))}
    model.resize_token_embeddings(len(new), mean_resizing=False)
    table = model.get_input_embeddings().weight
    with torch.no_grad():
        for i, parts in pieces.items():
            table[i] = table[parts].mean(0)
