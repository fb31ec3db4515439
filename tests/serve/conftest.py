"""A gateway for the tests: the real application on a real uvicorn, in a thread of this process."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from aiflow.agents.deployment import Deployment
from aiflow.serve.app import build
from aiflow.serve.config import Config
from aiflow.serve.server import Bind, listen, web_server

GRAPHS = Path(__file__).with_name("own_graphs.py")
HOME = {
    "nodes": {"cloud": "cloud", "phone": "device", "tablet": "device"},
    "links": [{"between": ["device", "cloud"], "rate": "1 GB/s"}],
}
AGENTS = {
    "echo": {"node": "cloud", "model": "scripted:echo"},
    "slow": {"node": "cloud", "model": "scripted:echo", "backend": {"token_delay": 0.1}},
    "hung": {"node": "cloud", "model": "scripted:echo", "backend": {"fail": "hang"}},
    "broken": {"node": "cloud", "model": "scripted:echo", "backend": {"fail": "raise"}},
    "dead": {"node": "tablet", "model": "scripted:echo", "backend": {"fail": "die"}, "about": "poems"},
    "math": {"node": "phone", "model": "scripted:12 * 7 = 84", "about": "arithmetic"},
    "hub": {"node": "cloud", "model": "scripted:The answer is 84."},
}
TEAM = {"server": "hub", "devices": ["math", "dead"], "select": "all", "deadline": "2 s"}


class Served:
    """A running gateway: its address, the agents behind it, and its web server."""

    def __init__(self, port: int, cluster: Deployment, server: Any, scheme: str = "http") -> None:
        self.port, self.cluster, self.server = port, cluster, server
        self.root = f"{scheme}://127.0.0.1:{port}"
        self.url = f"{self.root}/v1"

    def totals(self, name: str) -> Any:
        """What an agent's worker has done."""
        host: Any = self.cluster[name].host
        return host.worker.totals()


@contextmanager
def serving(
    tmp_path: Path, *, log_prompts: bool = False, tls: tuple[Path, Path] | None = None, **config: Any
) -> Iterator[Served]:
    """Runs a gateway on a free port; ``tls``: its certificate and key."""
    data = {"topology": HOME, "local": True, "emulate": False, "agents": AGENTS, "folder": tmp_path, **config}
    settings = Config(**data)
    app, cluster = build(settings, log_prompts=log_prompts)
    bind = Bind(port=0, tls_cert=tls[0], tls_key=tls[1]) if tls else Bind(port=0)
    listener = listen(bind)
    port = listener.getsockname()[1]  # the socket may be closed when the test ends it
    server = web_server(app, settings, bind)
    thread = threading.Thread(target=lambda: asyncio.run(server.serve(sockets=[listener])))
    thread.start()
    try:
        while not server.started and thread.is_alive():
            threading.Event().wait(0.01)
        yield Served(port, cluster, server, "https" if tls else "http")
    finally:
        server.should_exit = True
        thread.join(20)
        listener.close()
        assert not thread.is_alive()


@pytest.fixture(scope="package")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """One for all tests that need nothing else."""
    graphs = {
        "team": TEAM,
        "ranked": {**TEAM, "merge": "rank"},
        "pictures": {"build": f"{GRAPHS}:pictures"},
        "spoken": {"build": f"{GRAPHS}:spoken", "stream": "hub"},
        "changed": {"build": f"{GRAPHS}:changed", "stream": "hub"},
    }
    with serving(tmp_path_factory.mktemp("serve"), graphs=graphs, deadline="1500 ms") as gateway:
        yield gateway


@pytest.fixture
def serve(tmp_path: Path) -> Callable[..., Any]:
    """Runs a gateway of a test's own configuration, as a context manager."""
    return lambda **config: serving(tmp_path, **config)
