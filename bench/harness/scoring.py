"""Log-likelihoods of texts under a local model. It knows a tokenizer and logits; no harness, no agents.

Legend: T tokens that are scored, V vocabulary.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from aiflow.errors import InputError
from aiflow.types import Message

if TYPE_CHECKING:
    from aiflow.agents.decoding.speaker import Speaker

_SESSION = 0
Encode = Callable[[str], list[int]]


class Scorer:
    """Scores continuations and whole texts; contexts that come after one another share the model's cache."""

    def __init__(self, speaker: "Speaker") -> None:
        self._speaker = speaker
        self._tokenizer: Any = getattr(speaker.prompt, "tokenizer", None)
        if self._tokenizer is None:
            raise InputError("the model tells no tokenizer, so texts cannot be scored; use a transformers model.")
        self._context = speaker.context
        own = self._tokenizer.bos_token_id
        self.prefix = int(own if own is not None else min(speaker.ends))

    def continuation(self, context: "str | Sequence[Message]", text: str) -> tuple[float, bool]:
        """The natural logarithm of the probability of ``text`` after ``context``, and whether greedy decoding says it.

        A conversation is written by the model's own chat template. Contexts that are too long lose their beginning.
        Raises InputError for a text without tokens, or with more than the model reads.
        """
        if not isinstance(context, str):
            before, after = list(self._speaker.prompt(context).ids), self._encode(text, special=False)
        elif not context:
            after = self._encode(text)
            before = [after.pop(0)] if after[:1] == [self.prefix] else [self.prefix]
        else:
            before, after = split(self._encode, context, text)
        if not 0 < len(after) <= self._context:
            raise InputError(f"{text[:60]!r} has {len(after)} tokens; between 1 and {self._context} can be scored.")
        return self._score(before[-(self._context + 1 - len(after)) :], after)

    def whole(self, text: str) -> float:
        """The logarithm of the probability of a whole text, in windows as long as the model reads."""
        tokens = self._encode(text, special=False)
        return sum(self._score(before, after)[0] for before, after in windows(tokens, self.prefix, self._context))

    def close(self) -> None:
        """Forgets the cache."""
        self._speaker.engine.close(_SESSION)

    def _encode(self, text: str, special: bool = True) -> list[int]:
        bos = self._tokenizer.bos_token
        special = special and not (bos and text.startswith(bos))
        ids: list[int] = self._tokenizer(text, add_special_tokens=special, verbose=False)["input_ids"]
        return ids

    def _score(self, before: Sequence[int], after: Sequence[int]) -> tuple[float, bool]:
        import torch

        from aiflow.collaboration.decoding.engine import Read

        tokens = [*before, *after[:-1]]
        (logits_TV,) = self._speaker.engine.read([Read(session=_SESSION, tokens=tokens, rows=len(after))])
        said_T = torch.tensor(after, device=logits_TV.device)
        law_TV = torch.log_softmax(logits_TV.float(), dim=-1)
        found_T = law_TV.gather(1, said_T[:, None])[:, 0]
        return float(found_T.double().sum()), bool((law_TV.argmax(dim=-1) == said_T).all())


def split(encode: Encode, context: str, text: str) -> tuple[list[int], list[int]]:
    """The tokens of a context and of what follows it, as they are in the two together.

    Spaces at the end of the context belong to the text: most tokenizers join a space to the word behind it.
    """
    kept = context.rstrip()
    text = context[len(kept) :] + text
    if not kept:
        both = encode(text)
        return both[:1], both[1:]
    before, both = encode(kept), encode(kept + text)
    return before, both[len(before) :]


def windows(tokens: Sequence[int], prefix: int, size: int) -> Iterator[tuple[list[int], list[int]]]:
    """(context, scored) of every window of ``size`` predictions: each token is scored once, with as much before it as
    a window holds. The first window begins with ``prefix``.
    """
    if size < 1:
        raise InputError(f"windows of {size} tokens score nothing; the model's context is too short.")
    for start in range(0, len(tokens), size):
        end = min(start + size, len(tokens))
        before = [prefix] if start == 0 else list(tokens[max(0, end - size - 1) : start])
        yield before, list(tokens[start:end])
