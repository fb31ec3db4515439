"""What all tests share: a quiet, offline environment and one local Ray cluster with a raylet for each tier."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

os.environ |= {
    "OMP_NUM_THREADS": "1",
    "HF_HUB_OFFLINE": "1",
    "LANGSMITH_TRACING": "false",
    "RAY_AUTH_MODE": "disabled",
    "RAY_USAGE_STATS_ENABLED": "0",
    "TOKENIZERS_PARALLELISM": "false",
    "TRANSFORMERS_VERBOSITY": "error",
}

import pytest

if TYPE_CHECKING:
    from aiflow.cluster import Runtime

HOME = Path(__file__).parents[1] / "examples" / "home.yaml"


@pytest.fixture(scope="session")
def runtime() -> "Iterator[Runtime]":
    """The nodes of examples/home.yaml on a local cluster: five devices, ``edge``, ``cloud``."""
    from aiflow.cluster import Runtime

    with Runtime.start(HOME) as started:
        yield started
