"""The web application: routes around the ``Service``.

Starlette's router serves, without FastAPI's per-request work; FastAPI writes the documentation (``openapi``).
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route, Router

from aiflow.agents.deployment import Deployment
from aiflow.serve.config import Config
from aiflow.serve.drain import Drain
from aiflow.serve.front import App, Front, Scope, Send
from aiflow.serve.gauges import Gauges
from aiflow.serve.keys import KeyFile, Ring
from aiflow.serve.metrics import CONTENT_TYPE, Metrics
from aiflow.serve.openapi import describe
from aiflow.serve.opening import open_models
from aiflow.serve.reading import CLOSE, Receive
from aiflow.serve.service import Service
from aiflow.serve.status import Census

Handler = Callable[[Request], Awaitable[App]]
LOCAL = ("localhost", "127.0.0.1", "[::1]")


def build(config: Config, *, log_prompts: bool = False, any_host: bool = False) -> tuple[Front, Deployment]:
    """The application of a configuration, and its agents, which load meanwhile; the application closes them.

    ``any_host``: it may be called by any name, as behind keys or a proxy. Raises UsageError and ClusterError.
    """
    ring = Ring(KeyFile(config.key_file)) if config.key_file else None
    cluster, models = open_models(config)
    census = Census(cluster)
    metrics = Metrics(Gauges(census))
    service = Service(config, models, ring, log_prompts=log_prompts)

    @asynccontextmanager
    async def lifespan(_: Any) -> AsyncIterator[None]:
        yield
        census.close()
        await cluster.aclose()

    drain = Drain(metrics)
    routes = _routes(service, metrics, census, drain, secured=ring is not None)
    router = Router(routes, redirect_slashes=False, lifespan=lifespan)
    hosts = None if any_host or ring is not None else {*LOCAL, *config.hosts}
    return Front(router, metrics, hosts, log_prompts=log_prompts, drain=drain), cluster


class Endpoint:
    """A handler as an ASGI application."""

    def __init__(self, handler: Handler) -> None:
        self._handler = handler

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one request."""
        response = await self._handler(Request(scope, receive))
        await response(scope, receive, send)


def _routes(service: Service, metrics: Metrics, census: Census, drain: Drain, *, secured: bool) -> list[Route]:
    async def models(request: Request) -> App:
        return JSONResponse(service.models(request))

    async def model(request: Request) -> App:
        return JSONResponse(service.model(request, request.path_params["model"]))

    async def health(request: Request) -> App:  # noqa: ARG001
        if drain.begun:
            return JSONResponse({"status": "draining"}, 503, CLOSE)
        return JSONResponse({"status": "ok"})

    async def exposition(request: Request) -> App:
        service.enter(request, "metrics")
        return Response(metrics.text(), headers={"content-type": CONTENT_TYPE})

    async def status(request: Request) -> App:
        service.enter(request, "status")
        found = await census.take(metrics.under_way)
        return Response(found.model_dump_json(), media_type="application/json")

    async def openapi(request: Request) -> App:  # noqa: ARG001
        return JSONResponse(describe(secured=secured))

    table: list[tuple[str, str, Handler]] = [
        ("POST", "/v1/chat/completions", service.chat),  # looked for in this order
        ("POST", "/v1/completions", service.completion),
        ("GET", "/v1/models", models),
        ("GET", "/v1/models/{model:path}", model),
        ("GET", "/health", health),
        ("GET", "/metrics", exposition),
        ("GET", "/status", status),
        ("GET", "/openapi.json", openapi),
    ]
    return [Route(path, Endpoint(handler), methods=[method]) for method, path, handler in table]
