"""The way back from the model's thread: what a step produced goes to each event loop in one call."""

import asyncio
from functools import partial

from aiflow.agents.backends.transformers.requests import End, Request
from aiflow.agents.backends.transformers.sampling import Ranked

Mail = list[tuple[Request, str, End | None]]


class Outbox:
    """Collects text and ends; ``open`` holds the requests that have not ended. Used by the model's thread."""

    def __init__(self) -> None:
        self.open: set[Request] = set()
        self._mail: dict[asyncio.AbstractEventLoop, Mail] = {}

    def token(self, request: Request, token: int, ranked: Ranked | None = None) -> None:
        """Writes the next token of an answer, and the answer if that ends it."""
        text = request.push(token, ranked)
        if request.finish:
            self.end(request, request.answer(), text)
        elif text:
            self._post(request, text, None)

    def end(self, request: Request, end: End, text: str = "") -> None:
        """Ends a request with its answer or an error."""
        self.open.discard(request)
        self._post(request, text, end)

    def sweep(self) -> None:
        """Forgets the requests whose callers have gone."""
        self.open.difference_update([r for r in tuple(self.open) if r.cancelled])

    def flush(self) -> None:
        """Hands everything over. Requests of a closed event loop are cancelled."""
        mail, self._mail = self._mail, {}
        for loop, items in mail.items():
            try:
                loop.call_soon_threadsafe(partial(_deliver, items))
            except RuntimeError:
                for request, _, _ in items:
                    request.cancelled = True

    def _post(self, request: Request, text: str, end: End | None) -> None:
        self._mail.setdefault(request.mailbox.loop, []).append((request, text, end))


def _deliver(items: Mail) -> None:
    for request, text, end in items:
        request.mailbox.put(text, end)
