"""The gateway under load and under attack: commands of ``aiflow bench``. The gateway runs in a process of its own.

``main`` measures throughput, what a request costs beside FastAPI alone, and memory; ``main_security`` sends nonsense,
``main_injection`` lets one device of a collaboration tell the server what to say.
"""

from aiflow.bench.gateway.injection import main as main_injection
from aiflow.bench.gateway.load import main as main
from aiflow.bench.gateway.security import main as main_security

__all__ = ["main", "main_injection", "main_security"]
