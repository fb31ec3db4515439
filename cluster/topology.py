"""Which nodes there are, on which tiers, and the links between them: data, checked when read.

A topology is a YAML file or a Python call; both raise ``TopologyError`` with one line that names the place, the value
and the remedy. This module knows neither Ray nor time: ``links`` and ``network`` know what links do, ``runtime`` Ray.
"""

import re
from collections.abc import Hashable, Iterator
from itertools import product
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args

import yaml
from pydantic import BeforeValidator, Field, field_validator, model_validator

from aiflow import units
from aiflow.cluster.strict import Strict, quantity, require
from aiflow.cluster.traces import FOLDER, Trace
from aiflow.errors import TopologyError, UsageError, suggest

Tier = Literal["device", "edge", "cloud"]
TIERS: tuple[Tier, ...] = get_args(Tier)

Seconds = Annotated[float, BeforeValidator(quantity(units.duration))]
Share = Annotated[float, BeforeValidator(quantity(units.share))]
Bytes = Annotated[float, BeforeValidator(quantity(units.size))]

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}")


class Node(Strict):
    """A machine, or an emulated one. In YAML a bare tier name is short for ``{tier: ...}``.

    ``memory`` in bytes; ``speed`` is how fast it computes relative to the machine it is emulated on; ``resources`` are
    further Ray resources that it offers, such as ``{camera: 1}``.
    """

    tier: Tier
    memory: Bytes | None = None
    speed: float = Field(default=1.0, gt=0, allow_inf_nan=False)
    resources: dict[str, float] = Field(default_factory=dict)

    def __init__(self, **data: Any) -> None:
        super().__init__(**data)

    @field_validator("resources")
    @classmethod
    def _amounts(cls, value: dict[str, float]) -> dict[str, float]:
        for name, amount in value.items():
            require(0 < amount < 1e12, f"{name}: {amount:g} is no amount of a resource; give a number above 0.")
        return value

    @field_validator("tier", mode="before")
    @classmethod
    def _tier(cls, value: Any) -> Any:
        require(value in TIERS, f"{value!r} is no tier; {suggest(str(value), list(TIERS))}")
        return value


class Rates(Strict):
    """A link's rates: ``up`` from the first of its two ends to the second, ``down`` back."""

    up: Trace
    down: Trace

    @classmethod
    def of(cls, value: Any) -> Self:
        """From ``{up: ..., down: ...}``, or from whatever ``Trace.of`` reads, for both directions."""
        if isinstance(value, cls):
            return value
        if isinstance(value, dict):
            for key in value:
                if key not in ("up", "down", "trace", "period"):
                    raise TopologyError(f"{key}: unknown key; {suggest(str(key), ['up', 'down', 'trace', 'period'])}")
            if "up" in value or "down" in value:
                return cls(**value)
        trace = Trace.of(value)
        return cls(up=trace, down=trace)

    @field_validator("up", "down", mode="before")
    @classmethod
    def _trace(cls, value: Any) -> Trace:
        return Trace.of(value)


class Link(Strict):
    """A network between two ends, each a node or a tier; a tier stands for each of its nodes, with a link of its own.

    ``rtt`` and ``jitter`` in seconds (a message is up to ``jitter`` late, uniformly), ``loss`` a share of packets.
    """

    between: tuple[str, str]
    rate: Rates
    rtt: Seconds = 0.0
    jitter: Seconds = 0.0
    loss: Share = 0.0

    def __init__(self, **data: Any) -> None:
        super().__init__(**data)

    @field_validator("between", mode="before")
    @classmethod
    def _pair(cls, value: Any) -> Any:
        pair = isinstance(value, list | tuple) and len(value) == 2 and all(isinstance(end, str) for end in value)
        require(pair, f"{value!r} is not a pair; write two nodes or tiers, like [phone, edge].")
        return value

    @field_validator("rate", mode="before")
    @classmethod
    def _rates(cls, value: Any) -> Rates:
        return Rates.of(value)

    @field_validator("loss")
    @classmethod
    def _some_arrive(cls, value: float) -> float:
        require(value < 1, "100 % loss delivers nothing; give less, like '2 %'.")
        return value


class Wire(Strict):
    """One link of one pair of nodes, as the network sees it: ``a`` is the end from which ``rate.up`` counts."""

    name: str
    a: str
    b: str
    link: Link


class Topology(Strict):
    """Nodes by name, the links between them, and the Ray cluster they are on (``address``; None: a local one).

    A link that names its nodes goes before one that names their tiers. Every node must reach every other.
    """

    nodes: dict[str, Node]
    links: tuple[Link, ...] = ()
    address: str | None = None

    def __init__(self, **data: Any) -> None:
        super().__init__(**data)

    @classmethod
    def load(cls, source: str | Path) -> Self:
        """Reads a YAML file, or YAML text (anything with a line break or ``": "`` in it)."""
        is_text = isinstance(source, str) and (not source or "\n" in source or ": " in source)
        name, text = ("topology", str(source)) if is_text else (str(source), _text(Path(source)))
        token = FOLDER.set(Path() if is_text else Path(source).parent)
        try:
            return cls(**_mapping(text))
        except TopologyError as error:
            raise TopologyError(f"{name}: {error}") from None
        finally:
            FOLDER.reset(token)

    @field_validator("nodes", mode="before")
    @classmethod
    def _nodes(cls, value: Any) -> Any:
        require(isinstance(value, dict), f"{value!r} is not a map; write 'name: tier' lines, like 'phone: device'.")
        require(len(value) > 0, "there are no nodes; add at least one, like 'phone: device'.")
        for name in value:
            good = isinstance(name, str) and bool(_NAME.fullmatch(name))
            require(good, f"{name!r} cannot name a node; use letters, digits, '_', '.' and '-' (quote numbers).")
            if not isinstance(value[name], str | dict | Node):
                raise TopologyError(f"{name}: {value[name]!r} is no node; give a tier, or {{tier: ...}}.")
        return {name: {"tier": node} if isinstance(node, str) else node for name, node in value.items()}

    @field_validator("links", mode="before")
    @classmethod
    def _links(cls, value: Any) -> Any:
        value = () if value is None else value
        if not isinstance(value, list | tuple):
            raise UsageError(f"{str(value)[:40]!r} is not a list; start each link with '- between:'.")
        for index, link in enumerate(value):
            if not isinstance(link, dict | Link):
                raise TopologyError(
                    f"[{index}]: {str(link)[:40]!r} is no link; write {{between: [a, b], rate: 1 MB/s}}."
                )
        return value

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        for name, node in self.nodes.items():
            clear = name not in TIERS or self.on(name) == [name]
            why = f"{name!r} also means the tier {name!r}, and this is a node of {node.tier!r}, or one of several"
            require(clear, f"nodes.{name}: {why}; rename it, e.g. to '{name}1'.")
        wires = self.wires()
        reached, border = set[str](), [next(iter(self.nodes))]
        while border:
            here = border.pop()
            reached.add(here)
            border += [w.b if w.a == here else w.a for w in wires.values() if here in (w.a, w.b)]
            border = [name for name in border if name not in reached]
        for name in self.nodes:
            first = next(iter(self.nodes))
            require(name in reached, f"nodes.{name}: no links lead from {first!r} to it; add one to 'links'.")
        return self

    def on(self, end: str) -> list[str]:
        """The nodes of a tier, or the node of that name by itself; empty if there is neither."""
        if end in TIERS:
            return [name for name, node in self.nodes.items() if node.tier == end]
        return [end] if end in self.nodes else []

    def wires(self) -> dict[str, Wire]:
        """Every pair of linked nodes, by the link's name (``phone-edge``: the ends in the order of the file)."""
        best: dict[frozenset[str], tuple[int, int, Wire]] = {}
        for index, link in enumerate(self.links):
            exact = sum(end not in TIERS for end in link.between)
            for a, b in self._pairs(index, link):
                known = best.get(frozenset((a, b)))
                if known and known[0] == exact and known[1] != index:
                    raise UsageError(
                        f"links[{index}].between: {a!r} and {b!r} are linked by links[{known[1]}]; remove one."
                    )
                if not known or known[0] < exact:
                    best[frozenset((a, b))] = exact, index, Wire(name=f"{a}-{b}", a=a, b=b, link=link)
        wires = {wire.name: wire for _, _, wire in best.values()}
        require(len(wires) == len(best), "links: two links have one name because of '-' in node names; rename a node.")
        return wires

    def _pairs(self, index: int, link: Link) -> Iterator[tuple[str, str]]:
        first, second = link.between
        where = f"links[{index}].between"
        for end in link.between:
            known = [*self.nodes, *(tier for tier in TIERS if self.on(tier))]
            require(
                bool(self.on(end)), f"{where}: {end!r} is neither a node nor a tier with nodes; {suggest(end, known)}"
            )
        seen = set[frozenset[str]]()
        for a, b in product(self.on(first), self.on(second)):
            if a != b and frozenset((a, b)) not in seen:
                seen.add(frozenset((a, b)))
                yield a, b
        require(bool(seen), f"{where}: {first!r} cannot be linked to itself; name two different nodes.")


class _Loader(yaml.SafeLoader):
    """YAML in which a key may not be given twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        """Builds a dict. Raises TopologyError for a repeated key."""
        seen: list[Any] = []
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if key in seen:
                raise TopologyError(
                    f"line {key_node.start_mark.line + 1}: {key!r} is given twice; remove or rename one."
                )
            seen.append(key)
        return super().construct_mapping(node, deep=deep)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise TopologyError(
            f"{path}: {error.strerror}; give the path of a topology file, like examples/home.yaml."
        ) from None
    except UnicodeDecodeError:
        raise TopologyError(f"{path}: not a text file; give the path of a YAML file in UTF-8.") from None


def _mapping(text: str) -> dict[str, Any]:
    try:
        data = yaml.load(text, _Loader)  # a SafeLoader
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        raise TopologyError(f"{where}not valid YAML: {error.problem}; check indentation, colons and quotes.") from None
    except yaml.YAMLError as error:
        raise TopologyError(f"not valid YAML: {str(error).splitlines()[0]}; save it as UTF-8 text.") from None
    data = {} if data is None else data
    if not isinstance(data, dict):
        raise TopologyError(f"{str(data)[:40]!r} is not a map; begin with the key 'nodes:'.")
    return {str(key): value for key, value in data.items()}
