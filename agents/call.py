"""One generation in progress: a backend's stream, stepped so that it can be cancelled from outside.

It knows neither messages nor bytes nor Ray.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any

from aiflow.errors import BackendError
from aiflow.types import Answer, Delta, Usage


class Call:
    """Iterates over a backend's pieces of text; ``answer`` is there when it has ended.

    A cancelled call ends normally, with what was written so far and ``finish="cancelled"``; its tokens are then the
    pieces that arrived, because the backend's own count is lost. Raises BackendError when the backend breaks its
    protocol, and whatever the backend raises.
    """

    def __init__(self, stream: AsyncIterator[Delta | Answer]) -> None:
        self.answer: Answer | None = None
        self.cancelled = False
        self.pieces: list[str] = []
        self._stream = stream
        self._waiting: asyncio.Task[Any] | None = None  # who waits for the next piece now

    def cancel(self) -> None:
        """Ends the generation at its next pause; harmless when it has ended."""
        self.cancelled = True
        if self._waiting is not None:
            waiting, self._waiting = self._waiting, None
            waiting.cancel()

    async def __aiter__(self) -> AsyncGenerator[str]:
        try:
            while self.answer is None:
                item = self._partial() if self.cancelled else await self._next()
                if isinstance(item, Delta):
                    self.pieces.append(item.text)
                    yield item.text
                elif isinstance(item, Answer):
                    self.answer = item
                else:
                    raise BackendError(f"the model's back end returned {type(item).__name__} instead of text")
        finally:
            await self._close()

    async def _next(self) -> object:
        # In the asker's own task, since a task for every piece would cost more than many a piece.
        task = self._waiting = asyncio.current_task()
        assert task is not None
        before = task.cancelling()
        try:
            return await anext(self._stream, None)
        except asyncio.CancelledError:
            if self._waiting is task or task.cancelling() > before + 1:  # by others, or by others as well
                raise
            return self._partial()
        finally:
            if self._waiting is not task:
                task.uncancel()
            self._waiting = None

    def _partial(self) -> Answer:
        usage = Usage(requests=1, completion_tokens=len(self.pieces))
        return Answer(text="".join(self.pieces), finish="cancelled", usage=usage)

    async def _close(self) -> None:
        close = getattr(self._stream, "aclose", None)
        if close is not None:
            await close()
