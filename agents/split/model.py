"""What split inference needs of a loaded model: the part that a device computes, and a fingerprint of the rest."""

import hashlib
from typing import Any

import torch

from aiflow.agents.backends.transformers.loading import Loaded
from aiflow.agents.decoding.speaker import fingerprint
from aiflow.agents.split.wire import WIDE, About
from aiflow.clock import Clock
from aiflow.collaboration.familial.branch import Branch
from aiflow.collaboration.familial.family import Family, Member
from aiflow.collaboration.familial.kinds import parts, with_blocks
from aiflow.collaboration.familial.session import Session
from aiflow.errors import InputError

_REPEATS = 3
_ROWS, _FIRST = 256, 4096  # of the embeddings, and of the first block's first weights, that are compared


def vocabulary(loaded: Loaded) -> int:
    """Ids below it may be said."""
    return min(len(loaded.prompter.tokenizer), int(loaded.model.get_output_embeddings().weight.shape[0]))


def device(loaded: Loaded, exit_: int | None) -> tuple[Family, Member]:
    """The family and member that a model is as a device; None: what it was loaded as.

    A branch is used at its own exit; below it, and of a plain model, only the first blocks are.
    Raises InputError for an exit that the model has not, UnsupportedModelError for an architecture that is not known.
    """
    model, own = loaded.model, loaded.member
    layers = list(parts(model).text.layers)
    if own is None and exit_ is None:
        raise InputError(
            f"a whole model can leave after any of 0..{len(layers)} blocks; say which by exit=, or use a member "
            "of a family as the device, such as FOLDER#2."
        )
    last = len(layers) if own is None else own.exit
    at = last if exit_ is None else exit_
    if isinstance(at, bool) or not isinstance(at, int) or not 0 <= at <= last:
        raise InputError(f"exit {at!r} is not usable; this device has the exits 0 to {last}.")
    if own is None and at == last:
        return Family(model).eval(), Member(exit=at)
    below = with_blocks(model, layers[:last])
    if at < last or own is None or own.keep == 0:
        return Family(below, whole=False).eval(), Member(exit=at, keep=0)
    return Family(below, {at: Branch(layers[at:])}, whole=False).eval(), Member(exit=at)


def about(loaded: Loaded, clock: Clock | None) -> About:
    """See `wire.About`; its blocks are timed on a clock. Raises UnsupportedModelError."""
    own = parts(loaded.model)
    weight = own.text.embed_tokens.weight
    said = vocabulary(loaded)
    return About(
        width=int(own.config.hidden_size),
        depth=len(own.text.layers),
        dtype=str(weight.dtype).removeprefix("torch."),
        context=loaded.context,
        parts=fingerprint(loaded.prompter.tokenizer, loaded.prompter.template, said),
        weights=_weights(own),
        seconds=[_seconds(loaded, n, clock) for n in (1, WIDE)] if clock else [],
    )


def _weights(own: Any) -> str:
    """Of the embeddings and the first block, in bfloat16, so that models loaded in several dtypes are alike."""
    first = next(own.text.layers[0].self_attn.parameters())
    found = [own.text.embed_tokens.weight[:_ROWS], first.flatten()[:_FIRST]]
    raw = b"".join(t.detach().cpu().bfloat16().contiguous().view(torch.int16).numpy().tobytes() for t in found)
    return hashlib.blake2b(raw, digest_size=8).hexdigest()


@torch.inference_mode()
def _seconds(loaded: Loaded, tokens: int, clock: Clock) -> float:
    """Of one block; the least of some passes."""
    family = Family(loaded.model)
    shape = 1, tokens, family.parts.config.hidden_size
    h_BTD = torch.zeros(shape, device=loaded.model.device, dtype=family.parts.text.embed_tokens.weight.dtype)
    best = float("inf")
    for _ in range(_REPEATS):
        session = Session(family, [])
        session.push(embeds=h_BTD)
        began = clock.now()
        session.reach(1)
        best = min(best, clock.now() - began)
    return best
