"""Logits of many sessions from one model. The caches are an inner matter: whoever asks names all tokens, every time.

What a session's cache shares with the tokens that are asked about is used and the rest forgotten, so nobody has to roll
back, and a cache that was evicted or lost is rebuilt by asking. Requests that are asked together run in one forward
pass: rows of different lengths stand side by side in fixed buffers, each written at its own end.

Legend: N sessions of a pass, T new tokens, L places of the longest one, K key/value heads, D head size, V vocabulary.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor
from transformers.cache_utils import Cache, DynamicLayer

from aiflow.errors import InputError

_CHUNK = 256
LONG = 32
"""A session with more new tokens than this is read alone, so that others need no padding."""


@dataclass(frozen=True, kw_only=True)
class Read:
    """The logits (rows, V) after the last ``rows`` of ``tokens``; ``extra``: images, for the prompt's image tokens."""

    session: int
    tokens: Sequence[int]
    rows: int
    extra: Mapping[str, Any] = field(default_factory=dict)


class Engine(Protocol):
    """A model that reads."""

    def read(self, asked: Sequence[Read]) -> list[Tensor]:
        """For each request its logits (rows, V). Raises InputError for no tokens or more rows than tokens."""

    def close(self, session: int) -> None:
        """Forgets a session, if it is there."""


@dataclass
class _Slot:
    """A session's place in the buffers, and the tokens that are in it."""

    row: int
    tokens: list[int] = field(default_factory=list)
    used: int = 0  # when, for eviction


class _Layer(DynamicLayer):  # type: ignore[misc]
    """The keys and values (rows, K, places, D) of one decoder layer."""

    def __init__(self) -> None:
        super().__init__()
        self.is_initialized = False
        self.where: tuple[Tensor, Tensor, int, Tensor | None] | None = None

    def update(self, k_NKTD: Tensor, v_NKTD: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        assert self.where is not None
        row_N1, place_NT, length, chosen = self.where
        if not self.is_initialized:
            self.is_initialized = True
            self.keys, self.values = (x.new_zeros(0, x.shape[1], 0, x.shape[3]) for x in (k_NKTD, v_NKTD))
        self._reserve(int(row_N1.max()) + 1, length)
        self.keys[row_N1, :, place_NT] = k_NKTD.transpose(1, 2)
        self.values[row_N1, :, place_NT] = v_NKTD.transpose(1, 2)
        if chosen is None:
            return self.keys[: len(row_N1), :, :length], self.values[: len(row_N1), :, :length]
        return self.keys[chosen, :, :length], self.values[chosen, :, :length]

    def _reserve(self, rows: int, places: int) -> None:
        old_rows, _, old_places, _ = self.keys.shape
        if rows <= old_rows and places <= old_places:
            return
        rows = max(rows, old_rows)
        places = max(old_places, -(-places // _CHUNK) * _CHUNK)
        for name in ("keys", "values"):
            old = getattr(self, name)
            new = old.new_zeros(rows, old.shape[1], places, old.shape[3])
            new[:old_rows, :, :old_places] = old
            setattr(self, name, new)


class TransformersEngine:
    """Any transformers causal or LLaVA-type model with full attention."""

    def __init__(self, model: Any, *, sessions: int = 64) -> None:
        """``sessions``: caches that are kept; the least recently used one goes first.

        Raises InputError for a model whose cache cannot be addressed by place (sliding windows, recurrent states).
        """
        text = model.config.get_text_config()
        kinds = set(getattr(text, "layer_types", None) or ["full_attention"])
        if kinds != {"full_attention"} or (getattr(text, "sliding_window", None) and not hasattr(text, "layer_types")):
            raise InputError(
                f"attention of the kinds {sorted(kinds)}, perhaps sliding, has a cache that cannot be "
                "addressed by place; use a model with full attention, or FamilyEngine for its kinds."
            )
        self._model, self._most = model.eval(), sessions
        self._cache = Cache(layers=[_Layer() for _ in range(text.num_hidden_layers)])
        self._slots: dict[int, _Slot] = {}
        self._free: list[int] = []
        self._clock = 0
        self.passes = self.read_tokens = 0

    def close(self, session: int) -> None:
        """Forgets a session, if it is there."""
        slot = self._slots.pop(session, None)
        if slot is not None:
            self._free.append(slot.row)

    @property
    def bytes(self) -> int:
        """Memory of all caches."""
        layers = [x for x in self._cache.layers if x.is_initialized]
        return sum(x.keys.nbytes + x.values.nbytes for x in layers)

    @torch.inference_mode()
    def read(self, asked: Sequence[Read]) -> list[Tensor]:
        """See `Engine.read`. Sessions with an image or many tokens to read go alone, the others in one pass."""
        check(asked)
        found: list[Tensor] = []
        for start in range(0, len(asked), self._most):
            found += self._part(asked[start : start + self._most])
        return found

    def _part(self, asked: Sequence[Read]) -> list[Tensor]:
        """Of as many sessions as there are caches."""
        busy = {one.session for one in asked}
        kept = [self._kept(one) for one in asked]
        alone = [i for i, one in enumerate(asked) if goes_alone(one, kept[i])]
        found = {i: self._pass([asked[i]], busy, {} if kept[i] else asked[i].extra)[0] for i in alone}
        if together := [i for i in range(len(asked)) if i not in found]:
            found.update(zip(together, self._pass([asked[i] for i in together], busy, {}), strict=True))
        return [found[i] for i in range(len(asked))]

    def _kept(self, one: Read) -> int:
        """Tokens of the session's cache that can be used."""
        slot = self._slots.get(one.session)
        return 0 if slot is None else usable(slot.tokens, one, self._model.config)

    def _pass(self, asked: Sequence[Read], busy: set[int], extra: Mapping[str, Any]) -> list[Tensor]:
        kept = [self._kept(one) for one in asked]
        slots = [self._slot(one.session, busy) for one in asked]
        new = [list(one.tokens[k:]) for one, k in zip(asked, kept, strict=True)]
        width = max(map(len, new))
        length = max(k + width for k in kept)
        device = self._model.device
        ids_NT = torch.tensor([n + [0] * (width - len(n)) for n in new], device=device)
        start_N1 = torch.tensor(kept, device=device)[:, None]
        place_NT = start_N1 + torch.arange(width, device=device)
        rows = [s.row for s in slots]
        row_N1 = torch.tensor(rows, device=device)[:, None]
        chosen = None if rows == list(range(len(rows))) else row_N1[:, 0]
        for layer in self._cache.layers:
            layer.where = (row_N1, place_NT, length, chosen)
        blocked_NTL = torch.arange(length, device=device) > place_NT[:, :, None]
        dtype = self._model.dtype  # an additive mask means the same to every kind of attention
        mask_N1TL = torch.zeros(blocked_NTL.shape, dtype=dtype, device=device)[:, None]
        mask_N1TL.masked_fill_(blocked_NTL[:, None], torch.finfo(dtype).min)
        for slot in slots:
            slot.tokens = []  # until the pass has succeeded
        out = self._model(
            input_ids=ids_NT,
            attention_mask=mask_N1TL,
            position_ids=place_NT,
            past_key_values=self._cache,
            use_cache=True,
            logits_to_keep=max(one.rows + width - len(n) for one, n in zip(asked, new, strict=True)),
            **extra,
        )
        self.passes, self.read_tokens = self.passes + 1, self.read_tokens + sum(map(len, new))
        found = []
        for i, (one, slot, n) in enumerate(zip(asked, slots, new, strict=True)):
            slot.tokens = list(one.tokens)
            stop = out.logits.shape[1] - (width - len(n))
            found.append(out.logits[i, stop - one.rows : stop])
        return found

    def _slot(self, session: int, busy: set[int]) -> _Slot:
        slot = self._slots.get(session)
        if slot is None:
            if not self._free and len(self._slots) >= self._most:
                self.close(min((s for s in self._slots if s not in busy), key=lambda s: self._slots[s].used))
            slot = _Slot(self._free.pop() if self._free else len(self._slots))
            self._slots[session] = slot
        self._clock += 1
        slot.used = self._clock
        return slot


def check(asked: Sequence[Read]) -> None:
    """Raises InputError for rows that are not there, and for two readings of one session at once."""
    for one in asked:
        if not 1 <= one.rows <= len(one.tokens):
            raise InputError(f"{one.rows} rows of {len(one.tokens)} tokens cannot be read; ask for at least one.")
    if len({one.session for one in asked}) < len(asked):
        raise InputError("one session is asked for twice at once; its readings must follow each other.")


def goes_alone(read: Read, kept: int) -> bool:
    """Whether a reading would make the others of a pass wait or pad for it."""
    return len(read.tokens) - kept > LONG or bool(read.extra and not kept)


def usable(kept: Sequence[int], read: Read, config: Any) -> int:
    """How many of the tokens in a cache a reading can use; none if that would cut an image."""
    most = common(kept, read.tokens, len(read.tokens) - read.rows)
    return 0 if read.extra and getattr(config, "image_token_id", None) in read.tokens[most:] else most


def common(kept: Sequence[int], tokens: Sequence[int], most: int) -> int:
    """Length of the longest common prefix, at most ``most``."""
    most = min(most, len(kept))
    if list(kept[:most]) == list(tokens[:most]):  # a list never equals a tuple
        return most
    return next(i for i in range(most) if kept[i] != tokens[i])
