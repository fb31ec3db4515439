"""Runs the gateway in this process, on uvicorn: where it binds, with what safety, and what it prints and logs."""

import asyncio
import gc
import ipaddress
import logging
import socket
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aiflow.errors import InputError, UsageError
from aiflow.serve.config import Config
from aiflow.serve.logs import log_to_stderr, tell_discreetly

if TYPE_CHECKING:
    import uvicorn

_BACKLOG = 1024
_AFTER_DRAIN = 1  # seconds for what goes on after the drain's limit, and for answers that are still being sent


@dataclass(frozen=True, kw_only=True)
class Bind:
    """Where to listen; ``insecure``: also on addresses that others reach, without keys or TLS."""

    host: str = "127.0.0.1"
    port: int = 8000
    tls_cert: Path | None = None
    tls_key: Path | None = None
    insecure: bool = False

    def check(self, config: Config) -> None:
        """Raises UsageError for what would be open to strangers, InputError for half a certificate."""
        if (self.tls_cert is None) != (self.tls_key is None):
            raise InputError("--tls-cert and --tls-key belong together; give both.")
        for file in (self.tls_cert, self.tls_key):
            if file is not None and not file.is_file():
                raise InputError(f"{str(file)!r} does not exist; give a PEM file.")
        if config.key_file and not config.key_file.is_file():
            raise UsageError(f"the key file {config.key_file} does not exist; make it: aiflow serve key new NAME.")
        if self.insecure or loopback(self.host):
            return
        lacking = [what for what, there in (("API keys", config.keys), ("TLS", self.tls_cert)) if not there]
        if lacking:
            raise UsageError(
                f"host {self.host!r} can be reached by others, but there are no {' and no '.join(lacking)}; "
                "set keys in the configuration and --tls-cert, --tls-key, or say --insecure (as behind a proxy)."
            )


def _check_pair(cert: Path, key: Path) -> None:
    """Raises InputError for files that TLS cannot use, which uvicorn would tell by a traceback."""
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(cert, key, password="")  # nobody is asked for one
    except (ssl.SSLError, OSError) as error:
        raise InputError(
            f"{str(cert)!r} and {str(key)!r} are no certificate with its key ({error.strerror or error}); "
            "give PEM files that belong together, the key without a password."
        ) from error


def serve(source: str, bind: Bind, *, log_prompts: bool = False, quiet: bool = False) -> None:
    """Serves until a signal ends it; prints its URL on stdout once it answers. Raises UsageError, ClusterError."""
    try:
        import fastapi  # noqa: F401
        import prometheus_client  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError as error:
        raise UsageError(f"the gateway needs {error.name}; install it: pip install 'aiflow[serve]'.") from error
    config = Config.load(source)
    bind.check(config)
    log_to_stderr(logging.WARNING if quiet else logging.INFO, log_prompts=log_prompts)
    listener = listen(bind)
    try:
        asyncio.run(_serve(config, bind, listener, log_prompts))
    finally:
        listener.close()


async def _serve(config: Config, bind: Bind, listener: socket.socket, log_prompts: bool) -> None:
    from aiflow.serve.app import build

    if not log_prompts:
        asyncio.get_running_loop().set_exception_handler(tell_discreetly)
    app, cluster = build(config, log_prompts=log_prompts, any_host=not loopback(bind.host))
    try:
        await cluster.ready()
        scheme = "https" if bind.tls_cert else "http"
        host, port = listener.getsockname()[:2]
        shown = f"[{host}]" if ":" in host else host
        gc.collect()
        gc.freeze()  # what is there now stays: collections need not look at it while requests wait
        print(f"{scheme}://{shown}:{port}/v1", flush=True)
        await web_server(app, config, bind).serve(sockets=[listener])
    finally:
        await cluster.aclose()


def web_server(app: Any, config: Config, bind: Bind) -> "uvicorn.Server":
    """Uvicorn for the application, with the configuration's limits on connections and time.

    An application with a ``drain`` (``aiflow.serve.front.Front``) answers what runs before it ends.
    """
    import uvicorn

    from aiflow.serve.drain import Drain, Server
    from aiflow.serve.protocol import protocol

    limits, drain = config.limits, getattr(app, "drain", None)
    settings = uvicorn.Config(
        app,
        http=protocol(limits.receive, limits.connections),
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=max(1, round(limits.idle)),
        timeout_graceful_shutdown=_AFTER_DRAIN if drain else 10,
        ssl_certfile=bind.tls_cert,
        ssl_keyfile=bind.tls_key,
    )
    return Server(settings, drain, config.drain) if isinstance(drain, Drain) else uvicorn.Server(settings)


def listen(bind: Bind) -> socket.socket:
    """The socket. Raises UsageError, also for a certificate that TLS cannot use."""
    if bind.tls_cert and bind.tls_key:
        _check_pair(bind.tls_cert, bind.tls_key)
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(bind.host, bind.port, type=socket.SOCK_STREAM)[0]
        # asyncio switches Nagle's delay off only where the protocol is named: 40 ms of each answer.
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(_BACKLOG)
    except (OSError, OverflowError, UnicodeError) as error:
        raise UsageError(f"{bind.host}:{bind.port} cannot be listened on ({error}); give another --port.") from error
    return listener


def loopback(host: str) -> bool:
    """Whether only this machine reaches it."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
