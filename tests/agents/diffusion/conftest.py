"""Homes of toy parties: on simulated time, and on the wall clock with links that take no time."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # for `toys`, which stands beside the tests

import toys

from aiflow.agents.deployment import Deployment, connect
from aiflow.clock import VirtualClock


@pytest.fixture
def clock() -> VirtualClock:
    """Simulated time."""
    return VirtualClock()


@pytest.fixture
def simulated(clock: VirtualClock) -> Deployment:
    """Five devices around a hub, in this process, on simulated time."""
    return connect(toys.HOME, local=True, clock=clock)


@pytest.fixture
def here() -> Deployment:
    """The same on the wall clock, with links that take no time."""
    return connect(toys.HOME, local=True, emulate=False)
