"""The same application on Ray Serve, for scale: each replica is a gateway with agents of its own. Knows no uvicorn.

Limits per key count in each replica. A replica joins the cluster that Serve runs on.
"""

import signal
import threading
from pathlib import Path
from typing import Any

from aiflow.errors import UsageError
from aiflow.serve.config import Config
from aiflow.serve.server import Bind, loopback

NAME = "aiflow"
_IN_FLIGHT = 256
_FREE = {"num_cpus": 0}  # as agents: the place counts, not an amount


def application(source: str, *, replicas: int = 1, log_prompts: bool = False, any_host: bool = False) -> Any:
    """A Ray Serve application of the configuration in file ``source``; ``serve.run`` takes it. Raises UsageError.

    The file must be readable on every node that replicas may run on.
    """
    serve = _serve()

    gateway = serve.ingress(lambda: _app(source, log_prompts, any_host))()
    deployed = serve.deployment(
        gateway, name=NAME, num_replicas=replicas, max_ongoing_requests=_IN_FLIGHT, ray_actor_options=_FREE
    )
    return deployed.bind()


def serve(source: str, bind: Bind, *, replicas: int = 1, log_prompts: bool = False) -> None:
    """Deploys on the cluster of the configuration's topology until a signal comes. Raises UsageError, ClusterError."""
    from aiflow.cluster import Runtime

    scaled, config = _serve(), Config.load(source)
    bind.check(config)
    if bind.tls_cert is not None:
        raise UsageError("Ray Serve ends no TLS; put a proxy before it, or serve without --ray-serve.")
    place = source if source == "home" else str(Path(source).resolve())
    ended = threading.Event()
    with Runtime.start(config.topology):
        try:
            scaled.start(http_options={"host": bind.host, "port": bind.port})
            any_host = not loopback(bind.host)
            app = application(place, replicas=replicas, log_prompts=log_prompts, any_host=any_host)
            scaled.run(app, name=NAME)
            print(f"http://{bind.host}:{bind.port}/v1", flush=True)
            signal.signal(signal.SIGTERM, lambda *_: ended.set())
            ended.wait()
        finally:
            scaled.shutdown()


def _app(source: str, log_prompts: bool, any_host: bool) -> Any:
    """In the replica's process: the application, whose agents are loaded before it answers."""
    from aiflow.serve.app import build

    config = Config.load(source)
    if not config.local:
        import ray

        place = config.topology.model_copy(update={"address": ray.get_runtime_context().gcs_address})
        config = config.model_copy(update={"topology": place})
    app, cluster = build(config, log_prompts=log_prompts, any_host=any_host)
    cluster.ready_sync()
    return app


def _serve() -> Any:
    try:
        from ray import serve
    except ImportError as error:
        message = f"Ray Serve needs {error.name}; install it: pip install 'aiflow[ray-serve]'."
        raise UsageError(message) from error
    return serve
