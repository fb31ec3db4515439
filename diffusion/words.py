"""Captions of a small closed language as tokens, and a small encoder of them. Knows no domain: the words are given.

The tokenizer is an ordinary transformers one, so pipelines save and load it as they would CLIP's or T5's.
"""

import re
from collections.abc import Sequence
from typing import Any

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor, nn
from transformers import PreTrainedTokenizerFast

from aiflow.diffusion.blocks import positions
from aiflow.errors import InputError, suggest

PAD, UNKNOWN = "[pad]", "[unk]"
_WORD = re.compile(r"[a-z0-9]+")


def word_tokenizer(words: Sequence[str], length: int) -> PreTrainedTokenizerFast:
    """A tokenizer that knows these words and no others; ``length``: tokens at most, and to which texts are padded."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

    vocabulary = {word: place for place, word in enumerate([PAD, UNKNOWN, *sorted(set(words))])}
    inner = Tokenizer(models.WordLevel(vocabulary, unk_token=UNKNOWN))
    inner.normalizer = normalizers.Lowercase()
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(
        tokenizer_object=inner, pad_token=PAD, unk_token=UNKNOWN, model_max_length=length, padding_side="right"
    )


def tokens(tokenizer: Any, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
    """Ids (B, L) and mask (B, L; True where a token is) for texts that all must be understood.

    Raises InputError for an empty text, too many words, or, where the tokenizer knows few words, an unknown one.
    """
    limit = int(tokenizer.model_max_length)
    found = [_ids(tokenizer, text, limit) for text in texts]
    ids = torch.full((len(found), limit), int(tokenizer.pad_token_id))
    for row, one in enumerate(found):
        ids[row, : len(one)] = torch.tensor(one)
    return ids, torch.arange(limit)[None] < torch.tensor([[len(one)] for one in found])


def _ids(tokenizer: Any, text: str, limit: int) -> list[int]:
    if not isinstance(text, str) or not text.strip():
        raise InputError(f"the text {text!r} is empty; say what is to be generated.")
    said = text.lower()
    found = [int(one) for one in tokenizer(said)["input_ids"]]
    if tokenizer.unk_token == UNKNOWN:
        found = [int(tokenizer.convert_tokens_to_ids(word)) for word in _WORD.findall(said)]
        for word, one in zip(_WORD.findall(said), found, strict=True):
            if one == tokenizer.unk_token_id:
                known = sorted(w for w in tokenizer.get_vocab() if not w.startswith("["))
                raise InputError(f"the word {word!r} is not known to this small model; {suggest(word, known)}")
    if not found:
        raise InputError(f"the text {text!r} has no words; say what is to be generated.")
    if len(found) > limit:
        raise InputError(f"the text has {len(found)} tokens, at most {limit} can be read; shorten it.")
    return found


class WordEncoder(ModelMixin, ConfigMixin):  # type: ignore[misc]
    """A small transformer over words -> their states (B, L, D) and a summary (B, D)."""

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(self, vocabulary: int, width: int = 96, layers: int = 2, heads: int = 4) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.embedding = nn.Embedding(vocabulary, width)
        layer = nn.TransformerEncoderLayer(
            width, heads, 2 * width, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
        )
        self.encoder = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)
        self.norm = nn.LayerNorm(width)

    def forward(self, ids_BL: Tensor, mask_BL: Tensor) -> tuple[Tensor, Tensor]:
        """States (B, L, D) and their mean over the tokens (B, D); ``mask_BL`` is True where a token is."""
        width = int(self.config["width"])
        x_BLD = self.embedding(ids_BL) + positions(ids_BL.shape[1], width, ids_BL.device)
        x_BLD = self.norm(self.encoder(x_BLD, src_key_padding_mask=~mask_BL))
        held = mask_BL[..., None].to(x_BLD.dtype)
        return x_BLD * held, (x_BLD * held).sum(1) / held.sum(1).clamp_min(1)
