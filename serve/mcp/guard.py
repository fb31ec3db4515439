"""Lets in who has one of the gateway's keys, where there are keys, and notes who it is. An ASGI layer."""

from aiflow.serve.config import Config
from aiflow.serve.front import App, Scope, Send, refuse
from aiflow.serve.keys import KeyFile, Ring
from aiflow.serve.reading import Receive
from aiflow.serve.refusal import Refusal
from aiflow.serve.service import identify


class Guard:
    """Before ``app``."""

    def __init__(self, app: App, config: Config) -> None:
        self._app, self._common = app, config.allowance
        self._ring = Ring(KeyFile(config.key_file)) if config.key_file else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one request."""
        if scope["type"] == "http" and self._ring is not None:
            try:
                scope["aiflow.caller"] = identify(self._ring, scope["headers"], self._common)
            except Refusal as refusal:
                await refuse(refusal, send)
                return
        await self._app(scope, receive, send)
