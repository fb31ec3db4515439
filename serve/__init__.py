"""The gateway: agents and graphs behind an OpenAI-compatible HTTP interface. ``aiflow serve CONFIG.yaml`` runs it.

``build`` makes the ASGI application of a configuration. Importing this package loads no web framework.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from aiflow.serve.app import build as build
    from aiflow.serve.config import Config as Config
    from aiflow.serve.keys import KeyFile as KeyFile

_HOME = {"Config": "config", "KeyFile": "keys", "build": "app"}
__all__ = ["Config", "KeyFile", "build"]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'aiflow.serve' has no attribute {name!r}")
    return getattr(import_module(f"aiflow.serve.{_HOME[name]}"), name)
