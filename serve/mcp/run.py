"""Runs the server over stdio, or over streamable HTTP as the gateway runs: on loopback, with its keys, limits, TLS."""

import asyncio
import logging
import os
import signal
from contextlib import suppress
from typing import Any

from aiflow.errors import UsageError
from aiflow.serve.config import Config
from aiflow.serve.logs import log_to_stderr
from aiflow.serve.server import Bind, listen, loopback, web_server

PATH = "/mcp"
_LOCAL = ("127.0.0.1", "localhost", "[::1]")


def main(source: str, bind: Bind | None, *, log_prompts: bool = False) -> None:
    """Serves ``source`` until its client is gone (stdio; ``bind`` None) or a signal ends it. Raises UsageError."""
    try:
        import mcp  # noqa: F401
    except ImportError as error:
        raise UsageError(f"MCP needs {error.name}; install it: pip install 'aiflow[mcp]'.") from error
    config = Config.load(source)
    log_to_stderr(logging.INFO if bind else logging.WARNING, log_prompts=log_prompts)
    if bind is None:
        asyncio.run(_stdio(config, log_prompts))
        return
    bind.check(config)
    listener = listen(bind)
    try:
        asyncio.run(_http(config, bind, listener, log_prompts))
    finally:
        listener.close()


async def _stdio(config: Config, log_prompts: bool) -> None:
    from mcp.server.stdio import stdio_server

    from aiflow.serve.mcp.server import server
    from aiflow.serve.mcp.toolbox import Toolbox

    toolbox = Toolbox(config, log_prompts=log_prompts)
    served = server(toolbox, config.allowance)

    async def leave() -> None:
        # Where a thread reads stdin, which nothing can interrupt, this is the only way out.
        await toolbox.close()
        os._exit(128 + signal.SIGTERM)

    loop, leaving = asyncio.get_running_loop(), list[asyncio.Task[None]]()
    for number in (signal.SIGTERM, signal.SIGINT):
        with suppress(NotImplementedError):  # Windows
            loop.add_signal_handler(number, lambda: leaving.append(loop.create_task(leave())))
    async with stdio_server() as (read, write):  # from here on stdout is the protocol's alone
        toolbox.open()
        try:
            await served.run(read, write, served.create_initialization_options())
        finally:
            await toolbox.close()


async def _http(config: Config, bind: Bind, listener: Any, log_prompts: bool) -> None:
    from aiflow.serve.mcp.toolbox import Toolbox

    toolbox = Toolbox(config, log_prompts=log_prompts)
    toolbox.open()
    try:
        await toolbox.tools()
        scheme = "https" if bind.tls_cert else "http"
        host, port = listener.getsockname()[:2]
        print(f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}{PATH}", flush=True)
        await web_server(application(toolbox, config, bind), config, bind).serve(sockets=[listener])
    finally:
        await toolbox.close()


def application(toolbox: Any, config: Config, bind: Bind) -> Any:
    """The ASGI application. Without keys it answers only who calls it by a local name, from a local page or none."""
    from mcp.server.transport_security import TransportSecuritySettings

    from aiflow.serve.mcp.guard import Guard
    from aiflow.serve.mcp.server import server

    names = [*_LOCAL, *config.hosts]
    security = TransportSecuritySettings(
        enable_dns_rebinding_protection=config.keys is None and loopback(bind.host),
        allowed_hosts=[form for name in names for form in (name, f"{name}:*")],
        allowed_origins=[
            f"{scheme}://{name}{port}" for scheme in ("http", "https") for name in names for port in ("", ":*")
        ],
    )
    app = server(toolbox, config.allowance).streamable_http_app(
        streamable_http_path=PATH, transport_security=security, max_request_body_size=config.limits.body
    )
    return Guard(app, config)
