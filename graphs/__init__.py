"""LangGraph workflows: ``device_server``, ``adaptive``; ``serial``, ``parallel``, ``networked`` for diffusion; blocks.

Agents that talk are known by ``aiflow.agents.interface.Asks`` only, parts of diffusion models by
``aiflow.agents.diffusion``. Importing this package loads no LangGraph; names load on use.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from aiflow.graphs.batch import work as work
    from aiflow.graphs.blocks.attempt import Reply as Reply
    from aiflow.graphs.blocks.fan_out import fan_out as fan_out
    from aiflow.graphs.blocks.fan_out import gather as gather
    from aiflow.graphs.blocks.merge import Merged as Merged
    from aiflow.graphs.blocks.merge import merge as merge
    from aiflow.graphs.blocks.node import agent_node as agent_node
    from aiflow.graphs.blocks.node import node as node
    from aiflow.graphs.blocks.revise import revise as revise
    from aiflow.graphs.blocks.select import Selection as Selection
    from aiflow.graphs.blocks.select import select as select
    from aiflow.graphs.checkpoints import sqlite as sqlite
    from aiflow.graphs.journal import Journal as Journal
    from aiflow.graphs.state import Record as Record
    from aiflow.graphs.state import State as State
    from aiflow.graphs.workflows.adaptive import adaptive as adaptive
    from aiflow.graphs.workflows.device_server import device_server as device_server
    from aiflow.graphs.workflows.diffusion import fetch as fetch
    from aiflow.graphs.workflows.networked import networked as networked
    from aiflow.graphs.workflows.parallel import parallel as parallel
    from aiflow.graphs.workflows.planner import Planner as Planner
    from aiflow.graphs.workflows.serial import serial as serial

_HOME = {
    "Journal": "journal",
    "Merged": "blocks.merge",
    "Planner": "workflows.planner",
    "Record": "state",
    "Reply": "blocks.attempt",
    "Selection": "blocks.select",
    "State": "state",
    "adaptive": "workflows.adaptive",
    "agent_node": "blocks.node",
    "device_server": "workflows.device_server",
    "fan_out": "blocks.fan_out",
    "fetch": "workflows.diffusion",
    "gather": "blocks.fan_out",
    "merge": "blocks.merge",
    "networked": "workflows.networked",
    "node": "blocks.node",
    "parallel": "workflows.parallel",
    "revise": "blocks.revise",
    "select": "blocks.select",
    "serial": "workflows.serial",
    "sqlite": "checkpoints",
    "work": "batch",
}
__all__ = list(_HOME)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'aiflow.graphs' has no attribute {name!r}")
    return getattr(import_module(f"aiflow.graphs.{_HOME[name]}"), name)
