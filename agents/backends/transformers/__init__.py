"""The back end that runs a model in this process: any Hugging Face causal LM or image-text-to-text model.

One thread owns the model. Concurrent calls share its forward passes where the architecture allows it (``batched``),
else they take turns (``single``); the answers are the same. This module knows the asyncio side only: requests go to
the thread through a queue and text comes back through the caller's event loop.

``loading``  model ids and folders -> weights      ``prompt``  messages -> tokens      ``writer``  tokens -> text
``requests`` one call and its mailbox              ``sampling`` logits -> tokens       ``cache``  keys and values
``worker``   the thread                            ``batched``, ``single``  the two ways to generate
"""

from collections.abc import AsyncGenerator, Sequence
from typing import TYPE_CHECKING

from aiflow.agents.backends.transformers.batched import Batched, can_batch
from aiflow.agents.backends.transformers.loading import Loaded, load
from aiflow.agents.backends.transformers.requests import Mailbox, Request
from aiflow.agents.backends.transformers.single import Single
from aiflow.agents.backends.transformers.worker import Worker
from aiflow.errors import BackendError, InputError
from aiflow.types import Answer, Delta, Message, Options

if TYPE_CHECKING:
    from aiflow.agents.decoding.speaker import Speaker

__all__ = ["TransformersBackend"]


class TransformersBackend:
    """Answers with a local model (``aiflow.agents.interface.Backend``).

    ``model``: a Hub id, a folder with a model or with a peft LoRA adapter, or ``aiflow:nano/<name>``.
    ``dtype``: float32, bfloat16, float16 or auto. ``max_batch``: rows that share a forward pass.
    ``threads``: CPU threads of the model; more than there are free cores makes it many times slower.
    ``max_context``: tokens of prompt and answer (default: the model's own).
    ``seed``: makes calls that sample without a seed of their own repeatable in their order of arrival.

    Decoding follows ``Options`` alone: of the model's generation config only the end-of-sequence ids are used.
    Raises UnknownModelError when the model cannot be found, InputError for an unusable argument.
    """

    def __init__(
        self,
        model: str,
        *,
        device: str = "cpu",
        dtype: str = "float32",
        max_batch: int = 32,
        threads: int = 1,
        max_context: int | None = None,
        seed: int | None = None,
    ) -> None:
        for name, value in (("max_batch", max_batch), ("threads", threads), ("max_context", max_context or 1)):
            if value < 1:
                raise InputError(f"{name}={value} is not usable; give an int >= 1.")
        loaded = load(model, device=device, dtype=dtype, max_context=max_context)
        runner = Batched(loaded, max_batch) if can_batch(loaded.model) else Single(loaded)
        self._worker = Worker(loaded, runner, threads=threads, seed=seed)
        self._loaded: Loaded | None = loaded
        self._threads = threads

    async def stream(self, messages: Sequence[Message], options: Options) -> AsyncGenerator[Delta | Answer, None]:
        """Yields Deltas whose texts concatenate to the text of the Answer that comes last.

        Closing the iterator frees the call's place in the batch at the next step. Raises InputError (a conversation
        longer than the context, an unreadable image), BackendError (the model failed, or the back end was closed).
        """
        mailbox = Mailbox()
        request = Request(tuple(messages), options, mailbox)
        self._worker.submit(request)
        try:
            end = None
            while end is None:
                text, end = await mailbox.take()
                if text:
                    yield Delta(text=text)
            if isinstance(end, BaseException):
                raise end
            yield end
        finally:
            request.cancelled = True

    def speaker(self) -> "Speaker":
        """For collaborative decoding (``aiflow.agents.interface.Speaks``); shares the weights.

        Raises InputError for a model whose cache cannot be rolled back, BackendError after ``close``.
        """
        from aiflow.agents.backends.transformers.speaking import speaker

        return speaker(*self.loaded())

    def loaded(self) -> tuple[Loaded, int]:
        """The model and its CPU threads, for those that compute with it. Raises BackendError after ``close``."""
        if self._loaded is None:
            raise BackendError("the model was closed; create the back end again.")
        return self._loaded, self._threads

    async def close(self) -> None:
        """Ends the thread and frees the weights; calls in flight raise BackendError. Idempotent."""
        self._loaded = None
        await self._worker.close()
