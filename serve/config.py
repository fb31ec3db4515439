"""What a gateway serves, as its YAML file says: topology, agents, graphs, limits. Data, checked when read.

Paths in the file count from the file's folder. Knows no HTTP and starts nothing.
"""

from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import BeforeValidator, Field, field_validator, model_validator

from aiflow import units
from aiflow.agents.home import home_topology
from aiflow.cluster.strict import Strict, quantity, require
from aiflow.cluster.topology import Topology
from aiflow.errors import UsageError

Seconds = Annotated[float, BeforeValidator(quantity(units.duration)), Field(gt=0)]
Bytes = Annotated[int, BeforeValidator(lambda value: int(units.size(value))), Field(gt=0)]
Positive = Annotated[int, Field(ge=1, strict=True)]
BUILDERS = ("build", "stream")


class AgentEntry(Strict):
    """An agent: arguments of ``Deployment.agent``; ``backend`` are the options of the model's back end.

    With ``nodes`` (names, or a tier) instead of ``node`` it is a role: a replica on each, and requests go to whoever is
    free and well (``Deployment.role``). ``patience``: seconds after which another replica is asked too.
    """

    node: str | None = None
    nodes: str | tuple[str, ...] | None = None
    patience: Seconds | None = None
    model: str
    about: str = ""
    options: dict[str, Any] = Field(default_factory=dict)
    backend: dict[str, Any] = Field(default_factory=dict)
    gpus: float = Field(default=0.0, ge=0)

    def __init__(self, **data: Any) -> None:
        super().__init__(**data)

    @model_validator(mode="after")
    def _somewhere(self) -> Self:
        require((self.node is None) != (self.nodes is None), "an agent needs node, or nodes for a role; give one.")
        require(self.patience is None or self.nodes is not None, "patience belongs to a role; give nodes.")
        return self


class GraphEntry(Strict):
    """A graph: a device-server collaboration of named agents (``aiflow.graphs.device_server``), or one of the user's.

    ``build``: ``home``, ``FILE.py:NAME`` or ``MODULE:NAME`` of a compiled graph, or of a function from the deployment
    to one. ``stream``: the step of the custom stream whose pieces are the answer; without it a user's graph is told
    when it has ended. A device-server graph streams its last merge, where the server writes it (``synthesis``).
    ``quote`` is ``data`` here: the server reads answers as data, not as a part of its instructions; ``plain`` suits
    the embedded models, which know no other form.
    """

    build: str | None = None
    stream: str | None = None
    server: str | None = None
    devices: tuple[str, ...] = ()
    select: int | Literal["all"] = 2
    selector: Literal["server", "tfidf", "all"] = "server"
    merge: Literal["synthesis", "vote", "best_of_n", "rank"] = "synthesis"
    quote: Literal["plain", "data"] = "data"
    revise: Literal["selected", "all", False] = "selected"
    rounds: int = 1
    deadline: Seconds | None = None
    server_deadline: Seconds | None = None
    quorum: int = 1
    grace: Seconds | None = None
    context_limit: int | None = 60_000
    options: dict[str, Any] = Field(default_factory=dict)
    server_options: dict[str, Any] = Field(default_factory=dict)

    def __init__(self, **data: Any) -> None:
        super().__init__(**data)

    @model_validator(mode="after")
    def _either(self) -> Self:
        if self.build is None:
            require(self.server is not None and bool(self.devices), "a graph needs build, or server and devices.")
            require(self.stream is None, "stream belongs to a graph with build.")
        else:
            given = sorted(self.model_fields_set - {*BUILDERS})
            require(not given, f"{', '.join(given)} cannot be used with build; leave it out.")
        return self


class Allowance(Strict):
    """What a key may use: requests and tokens (read and written) a minute, requests at a time. None: no limit."""

    requests_per_minute: Positive | None = None
    tokens_per_minute: Positive | None = None
    concurrency: Positive | None = None

    def __init__(self, **data: Any) -> None:
        super().__init__(**data)


class Limits(Strict):
    """What any request may use. ``receive``: seconds for its headers and body; ``idle``: for the next one."""

    body: Bytes = 20_000_000
    receive: Seconds = 30.0
    idle: Seconds = 30.0
    messages: Positive = 1000
    images: Positive = 8
    image_bytes: Bytes = 8_000_000
    image_pixels: Positive = 16_000_000
    max_tokens: Positive = 4096
    concurrency: Positive = 1024
    connections: Positive = 4096

    def __init__(self, **data: Any) -> None:
        super().__init__(**data)


class Config(Strict):
    """A gateway. Every agent and every graph is a model by its name. Raises TopologyError, which names the key.

    ``local``: agents live in this process; else on Ray. ``emulate``: let messages take the time that the links say
    (None: on a local cluster). ``deadline``: seconds for an answer. ``keep_alive``: seconds of silence in a stream
    before a comment (None: never). ``drain``: seconds in which running requests may end after SIGTERM. ``keys``: the
    file of ``aiflow serve key new``; ``allowance``: of keys that have none of their own, and of callers without keys.
    ``hosts``: names under which it may be called without keys, beside those of this machine.
    """

    topology: Topology
    local: bool = False
    emulate: bool | None = None
    agents: dict[str, AgentEntry] = Field(default_factory=dict)
    graphs: dict[str, GraphEntry] = Field(default_factory=dict)
    limits: Limits = Field(default_factory=Limits)
    allowance: Allowance = Field(default_factory=Allowance)
    deadline: Seconds = 120.0
    keep_alive: Seconds | None = 15.0
    drain: Seconds = 30.0
    keys: Path | None = None
    hosts: tuple[str, ...] = ()
    folder: Path = Path()

    def __init__(self, **data: Any) -> None:
        super().__init__(**data)

    @classmethod
    def load(cls, source: str | Path) -> Self:
        """Reads a file; ``home`` is the embedded family on the topology that ships."""
        if str(source) == "home":
            source = Path(home_topology()).with_name("gateway.yaml")
        path = Path(source)
        if not path.is_file():
            raise UsageError(f"configuration {str(source)!r} does not exist; give a YAML file, or 'home'.")
        try:
            data = yaml.safe_load(path.read_text(encoding="utf-8"))
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise UsageError(f"{path} is not YAML: {str(error).splitlines()[0]}.") from error
        if not isinstance(data, dict):
            raise UsageError(f"{path} holds no keys; write topology, agents and graphs.")
        return cls(**{**data, "folder": path.parent, **_topology(data.get("topology", "home"), path.parent)})

    @field_validator("keys")
    @classmethod
    def _expand(cls, value: Path | None) -> Path | None:
        return value and value.expanduser()

    @model_validator(mode="after")
    def _names(self) -> Self:
        require(bool(self.agents or self.graphs), "there is nothing to serve; name agents or graphs.")
        twice = sorted({*self.agents} & {*self.graphs})
        require(not twice, f"{', '.join(twice)} names an agent and a graph; give each its own name.")
        return self

    @property
    def key_file(self) -> Path | None:
        """Where the hashes of keys are."""
        return self.folder / self.keys if self.keys else None


def _topology(value: Any, folder: Path) -> dict[str, Any]:
    if not isinstance(value, str):
        return {}
    return {"topology": Topology.load(home_topology() if value == "home" else folder / value)}
