"""What all tests share: a quiet, offline environment and one local Ray cluster with a raylet for each tier.

`make test` runs them in several processes (pytest-xdist), each of which takes one group of tests after the other. A
file is a group, because its fixtures are; all files that start Ray are one, so that two clusters do not fight for a
small machine. What takes longest comes first, or one process would end long after the others.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

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
CLUSTERS = ("test_main_job.py", "test_runtime.py", "test_attach.py", "ray.py")
"""How the names of files end that start Ray."""
LONG = (
    "ray",
    "nano/test_family_training.py",
    "bench/test_decoding.py",
    "test_readme.py",
    "collaboration/decoding/test_tier.py",
    "collaboration/decoding/test_rules.py",
    "bench/test_kills.py",
    "nano/test_visual_suites.py",
    "agents/test_decoding_faults.py",
    "bench/collaborations/test_recorded.py",
    "core/test_cli.py",
    "core/test_batch_cli.py",
    "graphs/test_batch_kills.py",
)
"""Groups that take long, the longest first."""


def group_of(nodeid: str) -> str:
    """Which tests run in one process: "ray", or the file below tests/."""
    file = nodeid.partition("::")[0].removeprefix("tests/")
    return "ray" if file.endswith(CLUSTERS) else file


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Hands out the groups. Not by `xdist_group`: pytest-xdist 3.8 does not see that mark under pytest 9.2."""
    from xdist.scheduler import LoadScopeScheduling

    class Groups(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return group_of(nodeid)

    config.option.loadscopereorder = False
    return Groups(config, log)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Long groups first; a single process keeps the order of the files."""
    if hasattr(config, "workerinput"):
        groups = [group_of(item.nodeid) for item in items]
        places = [LONG.index(group) if group in LONG else len(LONG) for group in groups]
        items[:] = [items[i] for i in sorted(range(len(items)), key=places.__getitem__)]


@pytest.fixture(scope="session")
def runtime() -> "Iterator[Runtime]":
    """The nodes of examples/home.yaml on a local cluster: five devices, ``edge``, ``cloud``."""
    from aiflow.cluster import Runtime

    with Runtime.start(HOME) as started:
        yield started
