"""The embedded family at home: which models stand on which nodes of the topology that ships."""

from importlib.resources import files
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from aiflow.agents.agent import Agent
    from aiflow.agents.deployment import Deployment

HOME = "home"
"""What users call the topology that ships, and the graph on it."""
PLACES = {"math": "phone", "code": "laptop", "text": "tablet", "islands": "watch", "minerals": "camera"}


def home_topology() -> str:
    """Path of the topology that ships."""
    return str(files("aiflow.examples") / "home.yaml")


def home_agents(cluster: "Deployment", model: str = "aiflow:nano/{name}") -> tuple["Agent", list["Agent"]]:
    """Puts the embedded family on the home topology: the server on the cloud, each expert on a device of its own."""
    from aiflow.nano import DEVICES

    def add(name: str, node: str, about: str) -> "Agent":
        return cluster.agent(name, node=node, model=model.format(name=name), about=about)

    experts = [add(name, PLACES[name], about) for name, about in DEVICES.items()]
    return add("server", "cloud", "choosing devices and merging their answers"), experts
