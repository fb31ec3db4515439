"""aiflow: models on devices, edge servers and clouds work as one system.

The public names, imported when first used, so that ``import aiflow`` stays instant.
"""

from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from aiflow.agents.deployment import Deployment as Deployment
    from aiflow.agents.deployment import connect as connect
    from aiflow.cluster.topology import Topology as Topology
    from aiflow.graphs import device_server as device_server
    from aiflow.types import Answer as Answer
    from aiflow.types import Image as Image
    from aiflow.types import Message as Message
    from aiflow.types import Options as Options

_HOME = {
    "Answer": "aiflow.types",
    "Deployment": "aiflow.agents.deployment",
    "Image": "aiflow.types",
    "Message": "aiflow.types",
    "Options": "aiflow.types",
    "Topology": "aiflow.cluster.topology",
    "connect": "aiflow.agents.deployment",
    "device_server": "aiflow.graphs",
}
__all__ = ["Answer", "Deployment", "Image", "Message", "Options", "Topology", "connect", "device_server"]

try:
    __version__ = version("aiflow")
except PackageNotFoundError:  # a source tree that was never installed
    __version__ = "0"


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'aiflow' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)
